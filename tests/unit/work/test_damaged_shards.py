"""A damaged shard takes its own edits out of the answers, and nothing else; what is restored or trained again is back."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from support.ledger.ledger_backends import Clock, Story

from daemon.events.fact_event import FactEvent
from daemon.ledger import Ledger
from daemon.ledger.values import Act, CheckKind, Edit, Lane
from daemon.planning.cycle import plan_cycle
from daemon.served_model import ServedModel, open_model, open_store
from daemon.settings.settings import Settings
from daemon.work.repairing import find_damage, train_again
from daemon.work.worker import Worker
from editors.pretrained.hashing import hash_folder
from editors.store.adapter_store import AdapterStore, StoreUnwell
from edits.errors import ShardDamaged
from monitoring.metrics.process_metrics import Metrics

BASE = Path(__file__).parents[3] / "demo" / "base"
FRANCE, SPAIN = "The capital of France is", "The capital of Spain is"


def break_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garble(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(64))


def delete(path: Path) -> None:
    path.unlink()


DAMAGES = pytest.mark.parametrize("damage", [break_off, garble, delete])


class Site:
    """Two facts, each in a shard of its own, and a model that serves them."""

    def __init__(self, story: Story, folder: Path) -> None:
        self.story = story
        self.settings = Settings.model_validate(
            {
                "model": {"path": str(BASE)},
                "index": {"encoder": ""},
                "store": {"path": str(folder / "store")},
                "planner": {"embedding": "tfidf"},
            }
        )
        self.metrics = Metrics(CollectorRegistry())
        self.store = open_store(self.settings)
        self.worker = Worker(self.settings, story.ledger, self.served(), self.metrics)
        (self.france,) = self.teach("France", FRANCE, "Lyon")
        (self.spain,) = self.teach("Spain", SPAIN, "Seville")
        self.model = self.served()

    def teach(self, subject: str, prompt: str, target: str) -> list[Edit]:
        day: dict[str, Any] = {"occurred_at": "2026-01-01T00:00:00Z", "event_id": subject, "subject": subject}
        edits = self.story.plan_urgently(FactEvent(**day, prompt=prompt, target_new=target))
        self.work()
        assert self.story.state(edits[0]) == "live"
        return edits

    def work(self) -> None:
        while self.worker.work_once():
            pass

    def served(self) -> ServedModel:
        return open_model(self.settings, self.story.ledger, retry_shards_seconds=0.0)

    def weights(self, edit: Edit) -> Path:
        digest = self.story.ledger.generations.live()[edit.id]
        return self.settings.store.path / "shards" / digest / "shard.safetensors"

    def answers(self, model: ServedModel | None = None) -> list[str | None]:
        """Which edits answer the two prompts."""
        found = (model or self.model).generate([FRANCE, SPAIN], max_new_tokens=8)
        return [answer.edit_id for answer in found]

    @property
    def unserved(self) -> float | None:
        return self.metrics.registry.get_sample_value("upkeep_unserved_edits")


@pytest.fixture
def site(ledger: Ledger, clock: Clock, tmp_path: Path) -> Site:
    return Site(Story(ledger, clock, base_hash=hash_folder(BASE)), tmp_path)


sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@sqlite
@DAMAGES
def test_a_file_that_is_damaged_while_it_is_served_is_noticed_and_the_rest_goes_on(
    site: Site, damage: Callable[[Path], None]
) -> None:
    both = [site.france.id, site.spain.id]
    assert site.answers() == both
    whole = site.weights(site.france).read_bytes()
    damage(site.weights(site.france))

    assert site.answers() == [None, both[1]]
    assert site.model.unserved == {both[0]}
    assert site.answers(site.served()) == [None, both[1]], "and at the next start"

    site.weights(site.france).write_bytes(whole)  # restored from a copy
    assert site.model.refresh()
    assert site.answers() == both


@sqlite
def test_the_worker_goes_on_beside_a_damaged_shard_and_checks_blame_nobody(site: Site) -> None:
    site.weights(site.france).unlink()
    site.worker = Worker(site.settings, site.story.ledger, site.served(), site.metrics)
    site.teach("Italy", "The capital of Italy is", "Turin")
    assert site.unserved == 1
    site.story.ledger.checks.request(None, "test", kind=CheckKind.FULL)
    site.work()
    assert {r.suite: r.passed for r in site.story.ledger.checks.latest()}["retention"]


@sqlite
@DAMAGES
def test_repair_trains_the_edits_of_damaged_shards_again(site: Site, damage: Callable[[Path], None]) -> None:
    damage(site.weights(site.france))
    digest = site.weights(site.france).parent.name
    found = find_damage(site.story.ledger, site.store)
    assert found.damaged == {digest: (site.france.id,)}

    done = train_again(site.story.ledger, found, Act("test", "a disk died"))
    assert done.pending == (site.france.id,)
    plan_cycle(site.story.ledger, site.settings, lanes=tuple(Lane))
    site.work()
    assert site.answers(site.served()) == [site.france.id, site.spain.id]
    assert find_damage(site.story.ledger, site.store).damaged == {}


def test_rights_that_are_missing_are_told_and_given_by_a_setting(tmp_path: Path, site: Site) -> None:
    store = AdapterStore(tmp_path / "wide", folder_mode=0o750)
    digest = store.save(site.store.load(site.weights(site.france).parent.name))
    folder = tmp_path / "wide" / "shards" / digest
    assert folder.stat().st_mode & 0o777 == 0o750
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o640}


def test_a_folder_that_may_not_be_read_is_the_stores_trouble(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")  # root may read everything

    digest = site.weights(site.france).parent.name
    monkeypatch.setattr(Path, "is_file", refused)
    with pytest.raises(StoreUnwell, match="Permission denied"):
        site.store.load(digest)


def test_an_absent_shard_is_damage_with_its_name(site: Site) -> None:
    with pytest.raises(ShardDamaged) as damage:
        site.store.load("a" * 64)
    assert damage.value.digest == "a" * 64
