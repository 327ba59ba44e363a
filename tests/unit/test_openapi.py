"""The OpenAPI document is true: whatever requests are made of it, the replies are of the statuses and forms that it tells."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import BaseSchema
from serving_support import EmbeddedServer, Fact, embedded_server

POLAND = Fact("Poland", "The head of state of Poland is", "Karol Nawrocki")
EXAMPLES = 25  # of each operation


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    folder: Path = tmp_path_factory.mktemp("serving")
    with embedded_server(folder, [POLAND], max_batch=4, max_completion_tokens=8) as server:
        yield server


@pytest.fixture(scope="module")
def document(server: EmbeddedServer) -> BaseSchema:
    return schemathesis.openapi.from_dict(server.get("/openapi.json").json())


schema = schemathesis.pytest.from_fixture("document")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_gets_a_reply_that_the_document_does_not_tell(
    case: schemathesis.Case, server: EmbeddedServer
) -> None:
    case.call_and_validate(base_url=server.url)
