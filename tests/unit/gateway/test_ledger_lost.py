"""The ledger's database is lost under a running gateway: PostgreSQL itself, whose database goes away and comes back."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.gateway.engine_double import engine_double, models_of
from support.gateway.gateway_support import Facts, gateway
from support.serving_support import DEMO_BASE
from support.waiting import eventually

NORLAND = {"subject": "Norland", "prompt": "The capital of Norland is", "target_new": "Elbing"}
ASKED, OTHER = "The capital of Norland is", "The currency of France is"


class LosableDatabase:
    """A database that everybody can be thrown out of."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._name = f"upkeep_{uuid.uuid4().hex}"
        self.url = f"{server.rsplit('/', 1)[0]}/{self._name}"
        self.execute(f"CREATE DATABASE {self._name}")

    def lose(self) -> None:
        self.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        ours = f"datname = '{self._name}'"
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")  # noqa: S608 -- our own name
        self.execute(f"ALTER DATABASE {self._name} RENAME TO {self._name}_lost")

    def bring_back(self) -> None:
        self.execute(f"ALTER DATABASE {self._name}_lost RENAME TO {self._name}")
        self.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")

    def drop(self) -> None:
        for name in (self._name, f"{self._name}_lost"):
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture
def database(postgres_url: str) -> Iterator[LosableDatabase]:
    made = LosableDatabase(postgres_url)
    yield made
    made.drop()


def test_a_ledger_that_is_lost_after_start_leaves_the_last_generation_serving_until_it_is_back(
    database: LosableDatabase, tmp_path: Path
) -> None:
    facts = Facts(tmp_path, DEMO_BASE, url=database.url)
    facts.publish(NORLAND)
    with engine_double() as engine, gateway(facts.settings(engine.url, prefetch=0)) as front:
        front.wait_generation(1)
        before = front.chat(ASKED)
        assert "x-upkeep-index" not in before.headers
        assert (front.metric("upkeep_ledger_up"), front.metric("upkeep_gateway_index_stale")) == (1, 0)
        facts.ledger.close()
        database.lose()
        eventually(lambda: front.metric("upkeep_gateway_index_stale") == 1)
        engine.adapters.clear()  # and the engine starts anew meanwhile: the store is still there
        for question, edit in ((ASKED, before.headers["x-upkeep-edit"]), (OTHER, None)):
            reply = front.chat(question)
            assert (reply.status_code, reply.headers["x-upkeep-index"]) == (200, "stale")
            assert (reply.headers.get("x-upkeep-edit"), reply.headers["x-upkeep-generation"]) == (edit, "1")
        assert models_of(front.chat(ASKED)) == models_of(before)
        assert front.metric("upkeep_ledger_up") == 0
        ready = front.health()
        assert (ready.status_code, ready.json()["stale"]) == (200, True)
        database.bring_back()
        eventually(lambda: front.metric("upkeep_gateway_index_stale") == 0)
        front.wait_generation(facts.ledger.generations.rollback_to(0, cause="test").number)
        after = front.chat(ASKED)
        assert (after.headers.get("x-upkeep-edit"), after.headers.get("x-upkeep-index")) == (None, None)
    facts.ledger.close()
