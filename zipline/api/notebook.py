"""How things look in a notebook: tables of fields as HTML, for definitions here and for plans and results above.

Everything is escaped. No script, no style sheet and nothing from elsewhere: colours are those of the page, so it reads
in light and dark. What lies inside something folds away by itself (`<details>`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from html import escape
from typing import Any

from zipline.api.base import Definition

MOST = 200
"""How many names or rows are shown of very many."""

_RULE = "1px solid rgba(128, 128, 128, 0.35)"
_CELL = f"padding: 2px 12px 2px 0; text-align: left; vertical-align: top; border: 0; border-bottom: {_RULE};"
_TABLE = "border-collapse: collapse; color: inherit; background: transparent; margin: 4px 0; font-size: 0.92em;"
_FAINT = "opacity: 0.65;"
_CODE = "font-family: ui-monospace, Menlo, Consolas, monospace;"
_UNSHOWN = frozenset({"name", "_location"})


class Html(str):
    """Text that is HTML already, made by this module; everything else is escaped."""

    __slots__ = ()


def code(text: object) -> Html:
    """Names and expressions, in the font of code."""
    return Html(f'<span style="{_CODE}">{escape(str(text))}</span>')


def faint(text: object) -> Html:
    return Html(f'<span style="{_FAINT}">{escape(str(text))}</span>')


def joined(parts: Iterable[object], separator: str = ", ") -> Html:
    """Several cells as one."""
    return Html(escape(separator).join(cell(part) for part in parts))


def cell(value: object) -> Html:
    """Any value as the content of a cell."""
    return value if isinstance(value, Html) else Html(escape("" if value is None else str(value)))


def heading(kind: str, title: str, note: object = "") -> Html:
    """What a thing is, what it is called, and where it is from."""
    return Html(f"<div><strong>{escape(kind)}</strong> {code(title)} {faint(note) if note else ''}</div>")


def fields(pairs: Iterable[tuple[str, object]]) -> Html:
    """A table of named values; what is None or empty is left out."""
    rows = [(name, value) for name, value in pairs if value is not None and value != ""]
    lines = (f'<tr><th style="{_CELL} font-weight: 600;">{escape(n)}</th>{_td(value)}</tr>' for n, value in rows)
    return Html(f'<table style="{_TABLE}"><tbody>{"".join(lines)}</tbody></table>')


def grid(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """A table with a head; columns whose name begins with '>' are aligned to the right."""
    right = [column.startswith(">") for column in columns]
    head = "".join(
        f'<th style="{_CELL} {_align(is_right)}">{escape(c.lstrip(">"))}</th>'
        for c, is_right in zip(columns, right, strict=True)
    )
    lines = ["".join(_td(v, is_right) for v, is_right in zip(row, right, strict=True)) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return Html(f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def _td(value: object, is_right: bool = False) -> str:
    return f'<td style="{_CELL} {_align(is_right)}">{cell(value)}</td>'


def _align(is_right: bool) -> str:
    return "text-align: right;" if is_right else ""


def folded(summary: object, content: Html, *, is_open: bool = False) -> Html:
    """Content that opens on a click."""
    return Html(f"<details{' open' if is_open else ''}><summary>{cell(summary)}</summary>{content}</details>")


def page(*parts: Html) -> str:
    """The whole of what a notebook shows of one thing."""
    return f'<div style="color: inherit; line-height: 1.45;">{"".join(parts)}</div>'


def listed(names: Sequence[object]) -> Html:
    """Names in a row, of very many the first."""
    more = [faint(f"... {len(names) - MOST:,} more")] if len(names) > MOST else []
    return joined([*(code(name) for name in names[:MOST]), *more])


def definition_page(definition: Definition) -> str:
    """A definition as its author wrote it: the fields that say something, what lies inside, its features, its line."""
    return page(*_parts(definition))


def _parts(definition: Definition) -> list[Html]:
    pairs = [(name, _shown(value)) for name, value in _said(definition)]
    features = getattr(definition, "features", None)
    if isinstance(features, tuple) and type(definition).__name__ == "GroupBy":
        pairs.append((f"{len(features)} features", listed(features)))
    return [heading(type(definition).__name__, _title(definition), definition.location or ""), fields(pairs)]


def _title(definition: Definition) -> str:
    named = getattr(definition, "name", None)
    return str(named) if named else _brief(definition)


def _said(definition: Definition) -> list[tuple[str, Any]]:
    """The fields that are not what they are without being given."""
    found = []
    for field in dataclasses.fields(definition):  # type: ignore[arg-type]
        value = getattr(definition, field.name)
        if field.name not in _UNSHOWN and value != field.default:
            found.append((field.name, value))
    return found


def _shown(value: Any) -> Html:
    if isinstance(value, Definition):
        return folded(_line(value), Html("".join(_parts(value)[1:])))
    if isinstance(value, Mapping):
        return grid(("", ""), [(code(name), code(text)) for name, text in value.items()])
    if isinstance(value, tuple | list):
        if any(isinstance(each, Definition) for each in value):
            return Html("".join(_shown(each) if isinstance(each, Definition) else code(each) for each in value))
        return listed([_plain(each) for each in value])
    return code(_plain(value))


def _plain(value: Any) -> str:
    if isinstance(value, Enum):
        return value.name
    return getattr(value, "__name__", str(value)) if callable(value) else str(value)


def _line(definition: Definition) -> Html:
    return joined([Html(f"{escape(type(definition).__name__)} {code(_title(definition))}")])


def _brief(definition: Definition) -> str:
    """What tells an object without a name from others: its first field."""
    first = dataclasses.fields(definition)[0].name  # type: ignore[arg-type]
    value = getattr(definition, first)
    if isinstance(value, Definition):
        return _title(value)
    if first == "input":
        return definition.title.removeprefix(type(definition).__name__).strip("()")
    return "" if isinstance(value, tuple | Mapping) or value is None else str(value)
