"""`POST /v1/events/{source}`: events of a source, known by its table, into its journal.

What is answered is on the disk. A thread of this process takes it into the tiles within milliseconds, unless a
`zipline stream` does: then that one is left to it. The answer says what a sender can rely on who sends again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import msgspec

from serving.problems import Problem
from zipline.api import EntitySource, EventSource
from zipline.errors import EventError, TableError, UsageError, ZiplineError
from zipline.orchestration.events.journal import JournalFullError
from zipline.orchestration.events.posting import EventLog
from zipline.orchestration.events.sources import event_tables_of
from zipline.plan.definitions import Definitions
from zipline.project import Project
from zipline.stores.contract import Store

EVENTS = "/v1/events/"
FULL = 30
"""Seconds until it is worth to try again whether a full disk has room."""
_log = logging.getLogger(__name__)


class Events:
    """The sources of one state of the definitions, and the thread that follows them."""

    def __init__(self, project: Project, definitions: Definitions, store: Store) -> None:
        self._log, self._store = EventLog(project, definitions=definitions), store
        self._teams = {name: sorted(_teams(definitions, name)) for name in self._log.sources}
        self._following = ExitStack()

    def teams(self, source: str, told: Callable[[str], bool]) -> Iterable[str]:
        """Whose features the events of a source change. Problem 404 where it takes none, with the sources of the teams
        that whoever asks is `told` of."""
        found = self._teams.get(source)
        if found is None:
            raise Problem(404, "unknown_source", "no source of that name takes events", valid=self.told(told))
        return found

    def told(self, told: Callable[[str], bool]) -> list[str]:
        """The sources that a team's features read, of those that one is `told` of."""
        return [name for name, teams in self._teams.items() if any(map(told, teams))]

    def follow(self) -> None:
        """From now on what is posted comes into the tiles."""
        if self._log.sources:
            self._following.enter_context(self._log.following(self._store))

    def stop(self) -> None:
        self._following.close()

    def post(self, source: str, body: bytes) -> bytes:
        """The answer. It returns when the events are on the disk."""
        try:
            posted = self._log.post(source, body)
        except EventError as wrong:
            raise Problem(400, "invalid_event", wrong.reason, path=wrong.path or "$", hint=wrong.hint) from None
        except TableError as wrong:
            raise Problem(409, "not_appendable", wrong.what, hint=wrong.hint) from None
        except UsageError as wrong:
            raise Problem(400, "invalid_request", wrong.what, hint=wrong.hint) from None
        except JournalFullError as wrong:
            _log.error("events of %s were not accepted: %s", source, wrong.what)
            what = "the disk of the server is full: nothing of the batch was kept"
            raise Problem(507, "disk_full", what, hint="make room, then send it again", retry_after=FULL) from None
        except ZiplineError as wrong:
            _log.error("events of %s were not accepted: %s", source, wrong.what)
            raise Problem(503, "not_accepted", "the events could not be kept", retry_after=1) from None
        facts = {"accepted": posted.accepted, "delivery": posted.delivery, "appended": posted.is_appended}
        return msgspec.json.encode(facts)


def _teams(definitions: Definitions, table: str) -> set[str]:
    """Of the group-bys that read it, in batch or as a stream, or a join whose left it is."""
    readers = (
        each
        for each in definitions.group_bys
        if table in event_tables_of(each) or any(_is_of(source, table) for source in each.sources)
    )
    return {str(reader.name).partition(".")[0] for reader in readers}


def _is_of(source: object, table: str) -> bool:
    if isinstance(source, EntitySource):
        return source.mutations_name == table
    return isinstance(source, EventSource) and source.table_name == table
