"""The real vLLM, started once for all tests of this folder, and fifty facts that are live in front of it."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.gateway.gateway_support import Facts, RunningGateway, gateway
from support.gateway.vllm_process import Vllm
from support.gateway.vllm_support import DATA, EDITS, PUBLISHED


@pytest.fixture(scope="session")
def engine() -> Iterator[Vllm]:
    venv, base = os.environ.get("UPKEEP_VLLM"), os.environ.get("UPKEEP_REAL_BASE")
    if not venv or not base:
        pytest.skip("no vLLM: run `make test-vllm`")
    with tempfile.TemporaryDirectory() as folder:
        running = Vllm(Path(venv), Path(base), Path(folder))
        running.start()
        yield running
        running.kill()


@pytest.fixture(scope="session")
def rows() -> list[dict[str, Any]]:
    """Fifty facts with a subject of their own."""
    found: dict[str, dict[str, Any]] = {}
    for line in (DATA / "halluedit.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["rephrase_prompts"]:
            found.setdefault(row["subject"], row)
    return list(found.values())[:EDITS]


@pytest.fixture(scope="session")
def facts(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], engine: Vllm
) -> Iterator[Facts]:
    published = Facts(tmp_path_factory.mktemp("facts"), Path(os.environ["UPKEEP_REAL_BASE"]))
    published.publish(*({name: row[name] for name in PUBLISHED} for row in rows))
    yield published
    published.ledger.close()


@pytest.fixture
def front(facts: Facts, engine: Vllm) -> Iterator[RunningGateway]:
    with gateway(facts.settings(engine.url)) as running:
        running.wait_generation(1)
        yield running
