"""The OpenAPI document is true: whatever is asked by it, the replies are of the statuses and forms that it tells."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import APIOperation
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks
from support.serving_support import EmbeddedServer, Fact, embedded_server

POLAND = Fact("Poland", "The head of state of Poland is", "Karol Nawrocki")
OPERATIONS = (
    *("POST /v1/chat/completions", "POST /v1/completions", "POST /v1/generate", "POST /v1/trace"),
    *("GET /v1/models", "GET /v1/models/{model}", "GET /v1/generation"),
    *("GET /healthz", "GET /readyz", "GET /metrics"),
)
EXAMPLES = 25  # of each operation and kind
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    folder = tmp_path_factory.mktemp("serving")
    with embedded_server(folder, [POLAND], max_batch=4, max_completion_tokens=8) as server:
        yield server


def operations(server: EmbeddedServer) -> dict[str, "APIOperation[Any, Any, Any, Any]"]:
    schema = schemathesis.openapi.from_dict(server.get("/openapi.json").json())
    found = {}
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        found[f"{operation.method.upper()} {operation.path}"] = operation
    return found


def test_the_document_has_every_operation_and_no_other(server: EmbeddedServer) -> None:
    assert set(operations(server)) == set(OPERATIONS)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_request_gets_a_reply_that_the_document_does_not_tell(
    server: EmbeddedServer, name: str, mode: GenerationMode
) -> None:
    operation = operations(server)[name]
    if mode is GenerationMode.NEGATIVE and not name.startswith("POST"):
        return  # nothing there can be wrong
    wanted = [*CHECKS, checks.negative_data_rejection] if mode is GenerationMode.NEGATIVE else CHECKS

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: "schemathesis.Case[Any]") -> None:
        case.call_and_validate(base_url=server.url, checks=wanted)

    check()
