"""What went wrong while an author's file ran, as one error with the author's line instead of a traceback."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from enum import EnumType
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from zipline.errors import DefinitionError, Location
from zipline.plan.files import readable

_MOST_TEXT = 600
_NOT_IN_MODULE = re.compile(r"cannot import name '(\w+)' from")


def explain_failure(error: BaseException, root: Path, package: str, modules: tuple[str, ...]) -> DefinitionError:
    """The DefinitionError for what importing the files under `root` raised; `modules` are all that could be named."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_relative_to(root):
        where = Location(readable(error.filename), error.lineno or 1)
        return DefinitionError(f"{type(error).__name__}: {error.msg}", where=where)
    frames = list(_frames(error.__traceback__, root))
    innermost = Location(readable(frames[-1][1]), frames[-1][2]) if frames else None
    cycle = _cycle(error, [name for name, _, _ in frames], package)
    if cycle:
        return DefinitionError(
            f"files import each other in a circle: {' -> '.join(cycle)}",
            where=innermost,
            hint="move what both need into a third file",
        )
    subject = f"importing {frames[-1][0]}" if frames else "importing the definitions"
    return DefinitionError(
        f"it raised {_text(error)}", subject=subject, where=innermost, **_facts(error, package, modules)
    )


def _facts(error: BaseException, package: str, modules: tuple[str, ...]) -> dict[str, Any]:
    if isinstance(error, ModuleNotFoundError):
        return _missing_module(error, package, modules)
    if isinstance(error, AttributeError) and error.name and isinstance(error.obj, EnumType):
        return {"asked": error.name, "valid": list(error.obj.__members__)}
    name = _NOT_IN_MODULE.match(str(error)) if isinstance(error, ImportError) else None
    if name:
        module = sys.modules.get(getattr(error, "name", None) or "")
        held = [each for each in vars(module) if not each.startswith("_")] if module else []
        return {"asked": name.group(1), "valid": held}
    return {"hint": "files of definitions only define: leave what can fail, such as files and networks, to the sources"}


def _frames(traceback: TracebackType | None, root: Path) -> Iterator[tuple[str, str, int]]:
    """(module, file, line) of the frames under the root, outermost first."""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if Path(file).is_relative_to(root):
            yield str(traceback.tb_frame.f_globals.get("__name__", "")), file, traceback.tb_lineno
        traceback = traceback.tb_next


def _cycle(error: BaseException, running: list[str], package: str) -> list[str]:
    """The modules in the circle, the first again at the end; empty where there is none."""
    wanted: Any = None
    if isinstance(error, ImportError):
        wanted = error.name
    elif isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        wanted = error.obj.__name__
    names = list(dict.fromkeys(running))
    if wanted not in names or "circular import" not in str(error):
        return []
    return [name.removeprefix(f"{package}.") for name in (*names[names.index(wanted) :], wanted)]


def _missing_module(error: ModuleNotFoundError, package: str, modules: tuple[str, ...]) -> dict[str, Any]:
    missing = error.name or ""
    if missing == package or missing.startswith(f"{package}."):
        return {"asked": missing, "valid": modules}
    if any(f"{name}.".startswith(f"{package}.{missing}.") for name in modules):
        return {"hint": f"files here import each other as {package}.{missing}, or relatively"}
    if missing == "configs":
        return {"hint": f"the folder is {package!r} here: files import each other as {package}.<team>.<file>"}
    return {"hint": f"install {missing.partition('.')[0]!r} in the environment that runs this, or mend the name"}


def _text(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]} ..."
