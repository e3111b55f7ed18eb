"""The one place where a failure becomes text, facts and an exit code."""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from zipline import clock
from zipline.errors import UsageError, ZiplineError

FAILED, BAD_USAGE = 1, 2
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_ENVIRONMENT_ERRORS = _NO_ROOM | {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
}


def exit_code_of(error: BaseException, arguments: Sequence[str]) -> int:
    """Shows the error, on stderr or with --json as facts on stdout, and gives the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    if isinstance(error, BrokenPipeError):
        _leave_the_pipe()
        return FAILED
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        error = ZiplineError("stopped", hint="what was published before stays; the same command goes on from there")
    elif isinstance(error, click.ClickException):
        error = _usage(error)
    elif isinstance(error, OSError) and error.errno in _ENVIRONMENT_ERRORS:
        error = _refused_by_the_system(error)
    elif not isinstance(error, ZiplineError):
        error = _unexpected(error, arguments)
    _show(error, arguments)
    return error.exit_code


def _show(error: ZiplineError, arguments: Sequence[str]) -> None:
    if "--json" in arguments:
        click.echo(json.dumps(error.facts(), indent=2, default=str))
    else:
        click.echo(click.style("error: ", fg="red", bold=True) + str(error), err=True)


def _usage(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    help_of = f"{context.command_path} --help" if context else "zipline --help"
    return UsageError(error.format_message(), next_command=help_of)


def _refused_by_the_system(error: OSError) -> ZiplineError:
    place = f": {error.filename}" if error.filename else ""
    hint = "make room on the disk" if error.errno in _NO_ROOM else "mend the cause"
    return ZiplineError(
        f"{error.strerror}{place}", hint=f"{hint} and run the same command again; nothing half-written stays"
    )


def _unexpected(error: BaseException, arguments: Sequence[str]) -> ZiplineError:
    text = "".join(traceback.format_exception(error))
    log = _write_log(f"zipline {' '.join(arguments)}\n\n{text}", arguments)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return ZiplineError(
        f"something went wrong that should not have: {what[:300]}",
        hint=f"the whole traceback is in {log}" if log else "and the traceback could not be written anywhere",
    )


def _write_log(text: str, arguments: Sequence[str]) -> Path | None:
    stamp = clock.to_text(clock.now())[:19].replace(":", "")
    project, elsewhere = _project_folder(arguments), Path(tempfile.gettempdir())
    for folder in (project / ".zipline" / "logs" if project.is_dir() else elsewhere, elsewhere):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"zipline-{stamp}-{os.getpid()}.log"
            path.write_text(text, "utf-8")
        except OSError:
            continue
        return path
    return None


def _project_folder(arguments: Sequence[str]) -> Path:
    """The project that was meant: parsing may be what failed."""
    given = list(arguments)
    for place, argument in enumerate(given):
        if argument == "--project" and place + 1 < len(given):
            return Path(given[place + 1])
        if argument.startswith("--project="):
            return Path(argument.partition("=")[2])
    return Path()


def _leave_the_pipe() -> None:
    """Whoever read the output has gone: Python must not complain when it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
