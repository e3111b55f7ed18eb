"""The OpenAPI document of the served joins: every join is a path of its own, typed by its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from serving.features.responses import ARROW, JSON
from serving.features.served import Served, ServedJoin
from zipline.fetch.results import STATUSES
from zipline.json_instants import schema_of_instant
from zipline.types import (
    BINARY,
    BOOLEAN,
    DATE,
    TIMESTAMP,
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    StructType,
)

Schema = dict[str, Any]
PROBLEMS = {
    "400": "The request is wrong: the place and the reason",
    "401": "A bearer token is needed",
    "403": "The token may not",
    "404": "There is no such join",
    "405": "Not by this method",
    "408": "The body came too slowly",
    "413": "The body is too large",
    "415": "The body is of another type",
    "500": "The server's fault",
    "503": "Too much to do, or not ready: try again after the time that is named",
    "504": "The time of the request was over before its turn",
}
_PROBLEMS: Schema = {JSON.decode(): {"schema": {"$ref": "#/components/schemas/Problem"}}}
_INSTANT: Schema = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}
_PROBLEM: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "path": {"type": "string", "description": "The place in the request, as $.rows[3].carrier"},
                "valid": {"type": "array", "items": {"type": "string"}},
                "hint": {"type": "string"},
            },
        }
    },
}


def with_joins(document: Schema, served: Served | None, told: Callable[[str], bool], *, has_tokens: bool) -> Schema:
    """The document of the control plane, with the joins and the sources in it of the teams that one is `told` of."""
    joins: Mapping[str, ServedJoin] = (
        {name: join for name, join in served.joins.items() if told(join.team)} if served is not None else {}
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for join in joins.values():
        _, found = msgspec.json.schema_components(
            [join.reader.type], schema_hook=schema_of_instant, ref_template="#/components/schemas/{name}"
        )
        schemas.update(found)
        schemas[f"{join.name}.Row"]["required"] = list(join.reader.keys)
        schemas[f"{join.name}.Response"] = _response(join)
        document["paths"][f"/v1/features/{join.name}"] = {"post": _operation(join)}
    if joins:
        document["paths"]["/v1/models/{name}/predict"] = {"post": _prediction()}
    for source in served.events.told(told) if served is not None and served.events is not None else ():
        document["paths"][f"/v1/events/{source}"] = {"post": _events(source)}
    if has_tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _operation(join: ServedJoin) -> Schema:
    request = {"$ref": f"#/components/schemas/{join.name}.Request"}
    response = {"$ref": f"#/components/schemas/{join.name}.Response"}
    answers: Schema = {
        "200": {
            "description": "The features of every row, in the order of the rows",
            "content": {JSON.decode(): {"schema": response}, ARROW.decode(): {"schema": {"type": "string"}}},
        }
    }
    answers |= {code: {"description": said, "content": _PROBLEMS} for code, said in PROBLEMS.items()}
    return {
        "summary": f"Features of {join.name}",
        "operationId": f"features_{join.name}",
        "tags": ["features"],
        "description": "The header X-Request-Timeout-Ms says after how many milliseconds an answer is of no use. "
        "Features of which a row lacks the key, or a column that they are derived of, are null, with status error.",
        "requestBody": {"required": True, "content": {JSON.decode(): {"schema": request}}},
        "responses": answers,
    }


def _prediction() -> Schema:
    """Scores of a model: its rows are those of its join."""
    row = {
        "type": "object",
        "required": ["score", "status"],
        "properties": {"score": {"anyOf": [{"type": "number"}, {"type": "null"}]}, "status": {"type": "object"}},
    }
    names = ("model", "sha256", "fingerprint")
    properties = {"rows": {"type": "array", "items": row}, **{name: {"type": "string"} for name in names}}
    answer = {"type": "object", "required": ["rows", *names], "properties": properties}
    rows = {"type": "array", "items": {"type": "object"}, "description": "As the model's join takes them"}
    asked = {"type": "object", "required": ["rows"], "properties": {"rows": rows, "at": _INSTANT}}
    named = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    mismatch = {"409": {"description": "The model's join is another one by now", "content": _PROBLEMS}}
    return _posted("Scores of a stored model", "predict", "models", asked, answer, [named], mismatch)


def _events(source: str) -> Schema:
    """Events of a source."""
    properties = {"accepted": {"type": "integer"}, "delivery": {"type": "string"}, "appended": {"type": "boolean"}}
    answer = {"type": "object", "required": list(properties), "properties": properties}
    events = {"type": "array", "items": {"type": "object"}, "description": "Rows of the source's table"}
    asked = {"type": "object", "required": ["events"], "properties": {"events": events}, "additionalProperties": False}
    refused = {"409": {"description": "The source's table cannot be appended to", "content": _PROBLEMS}}
    return _posted(f"Events of {source}", f"events_{source}", "events", asked, answer, [], refused)


def _posted(
    summary: str, name: str, tag: str, asked: Schema, answer: Schema, parameters: list[Schema], more: Schema
) -> Schema:
    answers = {"200": {"description": "Done", "content": {JSON.decode(): {"schema": answer}}}}
    return {
        "summary": summary,
        "operationId": name,
        "tags": [tag],
        "parameters": parameters,
        "requestBody": {"required": True, "content": {JSON.decode(): {"schema": asked}}},
        "responses": {
            **answers,
            **{code: {"description": said, "content": _PROBLEMS} for code, said in PROBLEMS.items()},
            **more,
        },
    }


def _response(join: ServedJoin) -> Schema:
    names = [name for name, _ in join.fetch.columns]
    values = {name: _nullable(schema_of(dtype)) for name, dtype in join.fetch.columns}
    row = {
        "type": "object",
        "required": ["values", "status", "time"],
        "properties": {
            "values": {"type": "object", "required": names, "properties": values},
            "status": {
                "type": "object",
                "description": "What is not `ok`",
                "additionalProperties": {"enum": [status for status in STATUSES if status != "ok"]},
            },
            "time": {
                "type": "object",
                "description": "Until when the input of each feature is complete",
                "additionalProperties": _INSTANT,
            },
        },
    }
    listed = {"type": "array", "items": row}
    return {
        "type": "object",
        "required": ["rows", "fingerprint"],
        "properties": {"rows": listed, "fingerprint": {"type": "string"}},
    }


def schema_of(dtype: DataType) -> Schema:
    """What a value is in an answer's JSON."""
    if dtype.is_integer:
        return {"type": "integer"}
    if dtype.is_float:
        return {"anyOf": [{"type": "number"}, {"enum": ["Infinity", "-Infinity"]}]}
    if isinstance(dtype, DecimalType):
        return {"type": "string", "format": "decimal"}
    if isinstance(dtype, ArrayType):
        return {"type": "array", "items": _nullable(schema_of(dtype.element))}
    if isinstance(dtype, MapType):
        return {"type": "object", "additionalProperties": _nullable(schema_of(dtype.value))}
    if isinstance(dtype, StructType):
        fields = {name: _nullable(schema_of(field)) for name, field in dtype.fields}
        return {"type": "object", "properties": fields}
    return dict(_SCALARS.get(dtype, {"type": "string"}))


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_SCALARS: dict[DataType, Schema] = {
    BOOLEAN: {"type": "boolean"},
    DATE: {"type": "string", "format": "date"},
    TIMESTAMP: {"type": "string", "format": "date-time"},
    BINARY: {"type": "string", "contentEncoding": "base64"},
}
