"""A real broker for the integration tests: the best one that this machine can give."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.kafka.kafka_support import fresh_kafka_settings
from support.requirements_met import unavailable

from daemon.ingest.embedded_broker import BrokerMissing, EmbeddedBroker
from daemon.settings.tables import KafkaSettings


@pytest.fixture(scope="session")
def bootstrap_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """KAFKA_BOOTSTRAP_SERVERS; else Apache Kafka in Docker; else from KAFKA_HOME; else the embedded broker."""
    if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield servers
    elif _docker_answers():
        from testcontainers.community.kafka import KafkaContainer

        with KafkaContainer().with_kraft().with_env("KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS", "1000") as kafka:
            yield kafka.get_bootstrap_server()
    elif home := os.environ.get("KAFKA_HOME"):
        yield from _apache_kafka(Path(home), tmp_path_factory.mktemp("kafka"))
    else:
        try:
            with EmbeddedBroker() as broker:
                yield broker.bootstrap_servers
        except BrokerMissing as error:
            unavailable(str(error))


@pytest.fixture
def kafka_settings(bootstrap_servers: str) -> KafkaSettings:
    """Settings with topics and a group that no other test uses."""
    return fresh_kafka_settings(bootstrap_servers)


@pytest.fixture
def own_broker() -> Iterator[EmbeddedBroker]:
    """An embedded broker that the test may stop, kill and restart."""
    try:
        with EmbeddedBroker() as broker:
            yield broker
    except BrokerMissing as error:
        unavailable(str(error))


def _docker_answers() -> bool:
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=3)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except DockerException:
        return False
    finally:
        client.close()


def _apache_kafka(home: Path, folder: Path) -> Iterator[str]:
    """One KRaft node, broker and controller in one, on free loopback ports."""
    port, controller = _free_port(), _free_port()
    properties = folder / "server.properties"
    properties.write_text(
        f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={folder / "data"}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
"""
    )
    storage = [str(home / "bin" / "kafka-storage.sh")]
    cluster = subprocess.run([*storage, "random-uuid"], check=True, capture_output=True, text=True).stdout
    subprocess.run([*storage, "format", "-t", cluster.strip(), "-c", str(properties)], check=True)
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [str(home / "bin" / "kafka-server-start.sh"), str(properties)], stdout=log, stderr=log
        )
        try:
            _wait_for(lambda: _listens(port), seconds=60)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _wait_for(happened: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "the broker did not start in time"
        time.sleep(0.2)
