"""The broker and the running daemon of the acceptance tests."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.acceptance_support import Daemon, Site, furnished
from support.requirements_met import unavailable
from support.waiting import eventually

from daemon.ingest.embedded_broker import BrokerMissing, EmbeddedBroker
from demo.world.general import far_probes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever starts whole daemons is slow."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """A broker of the module's own, which its tests may stop, kill and start again."""
    try:
        with EmbeddedBroker() as started:
            yield started
    except BrokerMissing as error:
        unavailable(str(error))


@pytest.fixture
def site(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Site]:
    """An empty house at the module's broker; its topics and its group are its own, and it consumes in small bites."""
    name = tmp_path.name
    kafka = {
        "bootstrap_servers": broker.bootstrap_servers,
        "topic": f"facts-{name}",
        "outcomes_topic": f"outcomes-{name}",
        "group_id": f"group-{name}",
        "partitions": 2,
    }
    with furnished(tmp_path, {"kafka": kafka, "consumer": {"max_poll_records": 4}}) as made:
        yield made


@pytest.fixture(scope="module")
def running(
    broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Daemon]]:
    """A house with a daemon that is ready; every test of the module sends facts of its own through it."""
    folder = tmp_path_factory.mktemp("site")
    probes = (json.dumps({"prompt": prompt, "kind": "far"}) + "\n" for prompt in far_probes(20, seed=0))
    (folder / "far.jsonl").write_text("".join(probes), encoding="utf-8")
    changes = {
        "kafka": {"bootstrap_servers": broker.bootstrap_servers},
        "monitoring.suites": {"far": "far.jsonl"},
    }
    with furnished(folder, changes) as made, made.daemon() as daemon:
        eventually(lambda: made.served_generation() is not None, "the daemon serves")
        yield made, daemon
