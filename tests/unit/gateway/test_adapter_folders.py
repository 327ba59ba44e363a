"""Adapters' folders beside a strict engine: swept when nobody needs them, and never while anybody does."""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.gateway.engine_double import EngineDouble, engine_double
from support.gateway.gateway_support import Facts, gateway
from support.ledger.ledger_backends import event
from support.serving_support import DEMO_BASE
from support.waiting import eventually

NORLAND = {"subject": "Norland", "prompt": "The capital of Norland is", "target_new": "Elbing"}
OSTRA = {"subject": "Lake Ostra", "prompt": "What is the depth of Lake Ostra?", "target_new": "Elbing"}
ASKED = "The capital of Norland is"
OLD_SECONDS = 7_200.0  # older than `sweep_after_seconds` of these tests
FAST = {"sweep_seconds": 0.02}


@pytest.fixture
def facts(tmp_path: Path) -> Iterator[Facts]:
    published = Facts(tmp_path, DEMO_BASE)
    published.publish(NORLAND, OSTRA)
    yield published
    published.ledger.close()


@pytest.fixture
def engine() -> Iterator[EngineDouble]:
    with engine_double() as double:
        yield double


def old(folder: Path) -> Path:
    """Nobody has touched it for long."""
    then = time.time() - OLD_SECONDS
    os.utime(folder, (then, then))
    return folder


def folder(facts: Facts, name: str) -> Path:
    """A folder of that name beside the adapters, with something in it."""
    made = facts.folder / "adapters" / name
    made.mkdir(parents=True)
    (made / "adapter_config.json").write_text("{}")
    return made


def test_what_no_live_edit_needs_is_removed_and_nothing_else(facts: Facts, engine: EngineDouble) -> None:
    gone = [
        old(folder(facts, "upkeep-999-0123456789ab")),
        old(folder(facts, ".upkeep-998-0123456789ab-x1y2z3")),  # of a gateway that was killed
    ]
    elsewhere = facts.folder / "elsewhere"
    elsewhere.mkdir()
    link = facts.folder / "adapters" / "upkeep-997-0123456789ab"
    link.symlink_to(elsewhere)
    stay = [
        folder(facts, "upkeep-996-0123456789ab"),  # another gateway has just written it
        old(folder(facts, "upkeep-995-0123456789ab")),  # the engine has it loaded
        old(folder(facts, "somebodys-own")),
        old(folder(facts, "upkeep-x")),
        elsewhere,
        link,
    ]
    engine.adapters.add("upkeep-995-0123456789ab")
    settings = facts.settings(engine.url, prefetch=0, sweep_after_seconds=3_600)
    with gateway(settings, **FAST) as front:
        front.wait_generation(facts.story.head())
        assert front.chat(ASKED).headers["x-upkeep-edit"]
        (live,) = engine.loads
        engine.adapters.discard(live)
        used = old(facts.folder / "adapters" / live)
        eventually(lambda: not any(path.exists() for path in gone))
        assert all(path.exists() for path in (*stay, used))
        assert front.chat(ASKED).status_code == 200


def test_an_adapter_of_a_retired_edit_goes_once_the_engine_has_forgotten_it_and_comes_back_with_a_rollback(
    facts: Facts, engine: EngineDouble
) -> None:
    settings = facts.settings(engine.url, prefetch=0, sweep_after_seconds=3_600, max_adapters=1)
    with gateway(settings, **FAST) as front:
        front.wait_generation(facts.story.head())
        before = front.chat(ASKED).headers["x-upkeep-edit"]
        (name,) = engine.loads
        path = facts.folder / "adapters" / name
        published = facts.publish({**NORLAND, "target_new": "Danzig"})
        front.wait_generation(facts.story.head())
        assert front.chat(ASKED).headers["x-upkeep-edit"] == published["Norland"]
        eventually(lambda: name not in engine.adapters)  # room for one
        old(path)
        eventually(lambda: not path.exists())
        front.wait_generation(facts.ledger.generations.rollback_to(1, cause="test").number)
        assert front.chat(ASKED).headers["x-upkeep-edit"] == before
        assert path.exists()


def test_a_gateway_does_not_remove_what_another_that_is_behind_still_uses(
    facts: Facts, engine: EngineDouble
) -> None:
    settings = facts.settings(engine.url, prefetch=0, sweep_after_seconds=3_600)
    stands_still, moves = (sqlite3.connect(facts.folder / name) for name in ("behind.db", "ledger.db"))
    with closing(stands_still), closing(moves):
        moves.backup(stands_still)
    late = facts.settings(engine.url, prefetch=0, sweep_after_seconds=3_600).model_copy(
        update={"ledger": settings.ledger.model_copy(update={"url": f"sqlite:///{facts.folder}/behind.db"})}
    )
    with gateway(settings, **FAST) as ahead:
        with gateway(late, **FAST) as behind:
            behind.wait_generation(1)
            edit = behind.chat(ASKED).headers["x-upkeep-edit"]
            (name,) = engine.loads
            path = facts.folder / "adapters" / name
            ahead.wait_generation(facts.ledger.generations.rollback_to(0, cause="test").number)
            assert "x-upkeep-edit" not in ahead.chat(ASKED).headers
            engine.adapters.clear()  # started anew: only the gateway that uses it knows that it is needed
            written = path.stat().st_mtime
            eventually(lambda: path.stat().st_mtime > written)  # who needs it touches it
            gone = old(folder(facts, "upkeep-999-0123456789ab"))
            eventually(lambda: not gone.exists())
            assert path.exists()
            assert behind.chat(ASKED).headers["x-upkeep-edit"] == edit
        engine.adapters.clear()
        old(path)
        eventually(lambda: not path.exists())


def test_a_folder_that_is_swept_between_the_look_and_the_load_is_written_again(
    facts: Facts, engine: EngineDouble
) -> None:
    def lost(path: Path) -> None:
        engine.before_load = None
        shutil.rmtree(path)

    engine.before_load = lost
    with gateway(facts.settings(engine.url, prefetch=0, on_failure="error")) as front:
        front.wait_generation(facts.story.head())
        reply = front.chat(ASKED)
        assert (reply.status_code, len(engine.loads)) == (200, 1)
        assert reply.headers["x-upkeep-edit"]


def test_while_the_ledger_cannot_be_followed_nothing_is_removed(facts: Facts, engine: EngineDouble) -> None:
    settings = facts.settings(engine.url, prefetch=0, sweep_after_seconds=3_600)
    with gateway(settings, **FAST) as front:
        front.wait_generation(facts.story.head())
        (edit,) = facts.story.plan_urgently(event("damaged", "Westmark"))
        (foreign,) = set(facts.ledger.generations.live().values())
        # A shard that does not carry what the generation says of it.
        facts.story.publish(facts.story.claim(), live={edit.id: foreign})
        eventually(lambda: front.metric("upkeep_gateway_index_stale") == 1)
        kept = old(folder(facts, "upkeep-999-0123456789ab"))
        answered = [front.chat(ASKED).headers["x-upkeep-index"] for _ in range(20)]
        assert set(answered) == {"stale"}
        assert kept.exists()
        facts.ledger.generations.rollback_to(1, cause="test")
        eventually(lambda: not kept.exists())
