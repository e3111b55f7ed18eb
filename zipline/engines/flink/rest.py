"""What a Flink cluster tells by its REST endpoint, and what it is asked to do."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any

from zipline.clock import monotonic
from zipline.errors import EngineError
from zipline.values import dataclass

TIMEOUT = 10.0
RUNNING = ("RUNNING", "CREATED", "RESTARTING", "INITIALIZING", "FAILING", "CANCELLING", "RECONCILING")
"""States of a job that has not ended."""


class UnreachableError(EngineError):
    """The cluster does not answer."""


class UnknownJobError(EngineError):
    """The cluster has no such job."""


@dataclass(frozen=True)
class Checkpoint:
    """The newest that is complete: where it lies, when it was triggered (microseconds), and its bytes."""

    path: str
    at: int
    size: int


@dataclass(frozen=True)
class Jobs:
    """The jobs of the cluster at an address."""

    address: str

    def names(self) -> dict[str, str]:
        """The names of the jobs that have not ended, by id."""
        jobs = self._get("/jobs/overview")["jobs"]
        return {job["jid"]: job["name"] for job in jobs if job["state"] in RUNNING}

    def state(self, job: str) -> str:
        """RUNNING, RESTARTING, FINISHED, FAILED, ..."""
        return str(self._get(f"/jobs/{job}")["state"])

    def checkpoint(self, job: str) -> Checkpoint | None:
        """The newest complete one; None before the first."""
        newest = self._get(f"/jobs/{job}/checkpoints").get("latest", {}).get("completed")
        if not newest:
            return None
        return Checkpoint(newest["external_path"], newest["trigger_timestamp"] * 1000, newest["state_size"])

    def failure(self, job: str) -> str | None:
        """Why the job failed last, in the words of the innermost reason."""
        entries = self._get(f"/jobs/{job}/exceptions?maxExceptions=1").get("exceptionHistory", {}).get("entries", [])
        if not entries:
            return None
        lines = str(entries[0]["stacktrace"]).splitlines()
        reasons = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
        return (reasons or lines)[-1 if reasons else 0]

    def stop(self, job: str, folder: str, within: float) -> None:
        """Ends a job with a savepoint below a folder; EngineError where that fails, or takes longer than `within`
        seconds."""
        until = monotonic() + within
        asked = {"targetDirectory": folder, "drain": False}
        request = str(self._ask(f"/jobs/{job}/stop", asked)["request-id"])
        while self._saved(job, request) is None:
            if monotonic() > until:
                raise EngineError(f"the savepoint took longer than {within:.0f} s", hint="look at its cluster")
            time.sleep(0.1)

    def _saved(self, job: str, request: str) -> str | None:
        """Where the savepoint lies; None while it is being written."""
        found = self._get(f"/jobs/{job}/savepoints/{request}")
        if found["status"]["id"] != "COMPLETED":
            return None
        operation = found["operation"]
        if "location" not in operation:
            cause = operation.get("failure-cause", {}).get("class", "no reason given")
            raise EngineError(f"the savepoint failed: {cause}", hint="cancel the job: it goes on from its checkpoint")
        return str(operation["location"])

    def _get(self, path: str) -> Any:
        return self._ask(path, None, method="GET")

    def _ask(self, path: str, body: Mapping[str, Any] | None, method: str = "POST") -> Any:
        content = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(
            self.address + path, content, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(asked, timeout=TIMEOUT) as answer:
                told = answer.read()
        except urllib.error.HTTPError as wrong:
            if wrong.code == 404:
                raise UnknownJobError(f"the cluster at {self.address} does not know {path}") from None
            told = wrong.read()[:300].decode("utf-8", "replace")
            raise EngineError(f"the cluster at {self.address} refused {path}: {told}") from None
        except (OSError, HTTPException) as wrong:
            raise self._unreachable(str(wrong) or repr(wrong)) from None
        try:
            return json.loads(told or b"{}")
        except ValueError:
            raise self._unreachable(f"{told[:100]!r} is no JSON") from None

    def _unreachable(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"the cluster at {self.address} does not answer: {why}", hint="is it running? see [flink] cluster"
        )
