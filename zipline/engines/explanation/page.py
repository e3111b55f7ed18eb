"""An explanation as HTML for a notebook: the value, its bounds, its events, what was left out; inputs folded below."""

from __future__ import annotations

from itertools import groupby

from zipline.api.notebook import Html, code, faint, fields, folded, grid, heading
from zipline.api.notebook import page as whole_page
from zipline.engines.explanation.contract import SEEN, Event, Explanation, instant_text
from zipline.engines.explanation.text import figure, headline, shown

MOST = 100
"""Rows of events that are shown of each verdict."""


def page(explanation: Explanation) -> str:
    """What a notebook shows of an explanation."""
    return whole_page(*_parts(explanation))


def _parts(of: Explanation) -> list[Html]:
    parts = [heading(of.column, shown(of.value), of.location or ""), *_alarm(of), fields(_facts(of))]
    parts += _verdicts(of)
    return parts + [folded(f"{each.column} = {shown(each.value)}", Html("".join(_parts(each)))) for each in of.inputs]


def _alarm(of: Explanation) -> list[Html]:
    if of.agrees is not False:
        return []
    given = shown(of.recomputed)
    text = code(f"A bug: the engine's value is not what the events below give, which is {given}. Please report it.")
    return [Html(f'<div style="border-left: 4px solid #d33; padding-left: 8px;"><strong>{text}</strong></div>')]


def _facts(of: Explanation) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [("made by", headline(of))]
    facts += [("key", code(f"{name} = {value!r}")) for name, value in of.keys.items()]
    facts.append(("query time", instant_text(of.query_time)))
    if of.end is not None:
        bounds = f"{instant_text(of.start) or 'the beginning'} ≤ time < {instant_text(of.end) or 'the end'}"
        facts.append(("sees", code(bounds)))
    facts += [("note", note) for note in of.notes]
    return facts + [("next", code(command)) for command in of.deeper]


def _verdicts(of: Explanation) -> list[Html]:
    if of.kind not in ("aggregation", "lookup"):
        return []
    ordered = sorted(of.events, key=lambda event: event.verdict)
    listed = {verdict: list(events) for verdict, events in groupby(ordered, lambda event: event.verdict)}
    found = []
    for verdict, count in {SEEN: 0, **of.counts}.items():
        rule = f": {of.rule}" if verdict == SEEN and of.rule else ""
        events = listed.get(verdict, [])[-MOST:]
        found.append(folded(f"{count:,} {verdict}{rule}", _events(events, count), is_open=verdict == SEEN))
    if of.other_keys is not None and of.keys:
        found.append(Html(f"<div>{faint(f'{of.other_keys:,} of other keys')}</div>"))
    return found


def _events(events: list[Event], count: int) -> Html:
    columns = ["time"]
    optional = [
        ("snapshot", any(event.snapshot for event in events)),
        ("known at", any(event.known_at is not None for event in events)),
        ("bucket", any(event.bucket is not None for event in events)),
        ("value", True),
        (">contribution", any(event.contribution is not None for event in events)),
        ("decides", any(event.decides for event in events)),
    ]
    columns += [name for name, is_there in optional if is_there]
    rows = [[_cell(event, column) for column in columns] for event in events]
    more = [faint(f"... and {count - len(events):,} more")] if count > len(events) else []
    return Html("".join([grid(columns, rows) if events else "", *more]))


def _cell(event: Event, column: str) -> object:
    match column.lstrip(">"):
        case "time":
            return instant_text(event.time) or faint("none")
        case "snapshot":
            return event.snapshot
        case "known at":
            return instant_text(event.known_at)
        case "bucket":
            return code(shown(event.bucket))
        case "value":
            return faint("null") if event.value is None else code(shown(event.value))
        case "contribution":
            return None if event.contribution is None else figure(event.contribution)
    return "decides the value" if event.decides else ""
