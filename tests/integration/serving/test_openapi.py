"""The published OpenAPI document: what it promises is kept, whatever is sent."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.servers.features import JOIN, Server

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
RIGHT, WRONG = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
ASKED = [
    ("POST", f"/v1/features/{JOIN}", RIGHT),
    ("POST", f"/v1/features/{JOIN}", WRONG),
    ("GET", "/v1/joins", RIGHT),
    ("GET", "/v1/status", RIGHT),
    ("GET", "/metrics", RIGHT),
    ("GET", "/v2/health/live", RIGHT),
    ("GET", "/v2/health/ready", RIGHT),
]


@pytest.mark.parametrize(("method", "path", "mode"), ASKED)
def test_whatever_is_sent_is_answered_as_the_document_says(
    server: Server, method: str, path: str, mode: schemathesis.GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operation = schema[path][method]
    seen: list[int] = []

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: schemathesis.Case) -> None:
        response = case.call()
        seen.append(response.status_code)
        case.validate_response(response, checks=CHECKS)

    run()
    if method == "POST":
        assert (200 if mode is RIGHT else 400) in seen


def test_the_document_names_keys_features_and_problems(server: Server) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    row = document["components"]["schemas"][f"{JOIN}.Row"]
    assert row["required"] == ["user", "item"]
    assert row["additionalProperties"] is False
    values = document["components"]["schemas"][f"{JOIN}.Response"]["properties"]["rows"]["items"]["properties"][
        "values"
    ]
    assert "spent_amount_sum_30d" in values["required"]
    assert {"400", "404", "413", "503", "504"} <= set(document["paths"][f"/v1/features/{JOIN}"]["post"]["responses"])
