"""Another sentence encoder: `upkeep reindex` makes the index again from the stored texts, and nothing else is touched."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import torch
from prometheus_client import CollectorRegistry
from support.ledger.ledger_backends import Clock, Story
from support.requirements_met import unavailable
from support.worker_support import BASE, FRANCE, fact
from transformers import AutoTokenizer, BertConfig, BertModel
from typer.testing import CliRunner

from daemon.__main__ import build_app
from daemon.ledger import Ledger, open_ledger
from daemon.served_model import ServedModel, open_model
from daemon.settings.complaints import BadSettings
from daemon.settings.settings import load_settings
from daemon.work.worker import Worker
from editors.index.encoder import load_encoder
from editors.index.learning.corpus import Corpus, read_corpus
from editors.index.learning.training import train_head
from editors.index.matcher import kept_head
from editors.pretrained.hashing import hash_folder
from editors.store.adapter_store import AdapterStore
from edits.errors import ShardCorrupt
from monitoring.metrics.process_metrics import Metrics

ITALY, SPAIN = "The capital of Italy is", "The capital of Spain is"
# Text in front of the edit's own question: only who reads what is asked finds it.
ASKED = f"It was a long day on the road. {FRANCE}"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with the default encoder's tokenizer, and its head, trained on a small part of the corpus."""
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer: Any = AutoTokenizer.from_pretrained(_default_folder())
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def head(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    loaded = load_encoder(str(encoder))
    path = kept_head(tmp_path_factory.mktemp("heads"), loaded.hash)
    path.parent.mkdir()
    train_head(loaded, Corpus(read_corpus().relations[:8]), pairs=50_000).save(path)  # else minutes
    return path


def _default_folder() -> Path:
    from editors.index.encoder_place import installed_encoder

    folder = installed_encoder()
    if folder is None:
        unavailable("the default encoder's package is not installed: make setup")
    return folder


class Site:
    """A folder with settings, a ledger and a store, whose encoder can be changed."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.folder, self.ledger = folder, ledger
        self.story = Story(ledger, Clock(), base_hash=hash_folder(BASE))
        self.store = AdapterStore(folder / "store")

    def use(self, encoder: str | None) -> None:
        """Name an encoder in the settings; "": none, None: the default."""
        named = "" if encoder is None else f'[index]\nencoder = "{encoder}"\n'
        (self.folder / "upkeep.toml").write_text(
            f'[model]\npath = "{BASE}"\n[store]\npath = "store"\n[ledger]\nurl = "sqlite:///ledger.db"\n{named}'
        )

    def open(self) -> ServedModel:
        return open_model(load_settings(self.folder / "upkeep.toml"), self.ledger)

    def publish(self, prompt: str, subject: str, target: str) -> None:
        settings = load_settings(self.folder / "upkeep.toml")
        worker = Worker(settings, self.ledger, self.open(), Metrics(CollectorRegistry()))
        (edit,) = self.story.plan_urgently(fact(subject, prompt, target))
        while worker.work_once():
            pass
        assert self.story.state(edit) == "live"

    def reindex(self, *options: str) -> dict[str, Any]:
        config = str(self.folder / "upkeep.toml")
        done = CliRunner().invoke(build_app(), ["reindex", "-c", config, "--json", *options])
        if done.exception is not None:
            raise done.exception
        return dict(json.loads(done.stdout))

    @property
    def derived(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("store/index/*/*") if path.name[0] != ".")


@pytest.fixture
def site(tmp_path: Path, head: Path) -> Iterator[Site]:
    """Three live edits: one without text, two read by the default encoder; the other encoder's head is there."""
    shutil.copytree(head.parent.parent, tmp_path / "store" / "heads")
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.migrate()
        site = Site(tmp_path, ledger)
        site.use("")
        site.publish(SPAIN, "Spain", "Cadiz")
        site.use(None)
        site.publish(ITALY, "Italy", "Milan")
        site.publish(FRANCE, "France", "Lyon")
        yield site


@pytest.mark.parametrize("encoder", ["", None], ids=["no encoder", "the default"])
def test_every_start_without_an_encoder_is_warned_of_what_follows(
    tmp_path: Path, encoder: str | None
) -> None:
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger, structlog.testing.capture_logs() as log:
        ledger.migrate()
        site = Site(tmp_path, ledger)
        site.use(encoder)
        for _ in range(2):
            site.open()
    warned = [entry["consequence"] for entry in log if entry["log_level"] == "warning"]
    assert len(warned) == (2 if encoder == "" else 0)
    assert all('index.encoder = ""' in text and "the base's own answers decide" in text for text in warned)


def _answers(model: ServedModel) -> list[tuple[str, str | None]]:
    answered = model.generate([FRANCE, ITALY, SPAIN, ASKED], max_new_tokens=16)
    return [(answer.text, answer.edit_id) for answer in answered]


def test_with_another_encoder_a_role_does_not_start_until_the_index_is_made_again(
    site: Site, encoder: Path
) -> None:
    before = _answers(site.open())
    assert [text for text, _ in before] == ["Lyon", "Milan", "Cadiz", "Lyon"]
    site.use(str(encoder))
    with pytest.raises(ShardCorrupt, match="run `upkeep reindex`"):
        site.open()

    first, second = site.reindex(), site.reindex()

    assert first["shards"] == {"made": 2, "kept": 0, "own": 0, "no_text": 1}
    assert (first["edits"], second["edits"], second["shards"]["kept"]) == (2, 0, 2)
    assert _answers(site.open()) == before
    site.use(None)
    assert _answers(site.open()) == before


def test_a_run_that_was_killed_is_run_again_and_a_damaged_index_is_told_and_made_again(
    site: Site, encoder: Path
) -> None:
    site.use(str(encoder))
    site.reindex()
    lost, damaged = site.derived
    shutil.rmtree(lost)
    leftover = lost.with_name(".writing-dead")
    leftover.mkdir()
    with pytest.raises(ShardCorrupt, match="run `upkeep reindex`"):
        site.open()
    assert site.reindex()["shards"]["made"] == 1

    tensors = damaged / "index.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"!")
    assert site.open().unserved, "the edits of that shard alone do not answer"
    assert (site.reindex()["shards"]["made"], site.reindex()["shards"]["kept"]) == (1, 2)
    assert (site.open().generation, site.open().unserved) == (3, frozenset())


def test_what_is_published_with_the_new_encoder_and_what_was_replaced_lie_side_by_side(
    site: Site, encoder: Path
) -> None:
    site.use(str(encoder))
    site.reindex()
    site.publish(FRANCE, "France", "Nice")
    assert site.open().generate([FRANCE], max_new_tokens=16)[0].text == "Nice"
    site.use(None)
    assert site.reindex("--live")["shards"] == {"made": 1, "kept": 0, "own": 1, "no_text": 1}
    assert site.reindex()["shards"] == {"made": 0, "kept": 1, "own": 2, "no_text": 1}
    assert site.open().generate([FRANCE], max_new_tokens=16)[0].text == "Nice"


def test_an_edits_threshold_never_falls_under_the_one_that_it_was_shipped_with(
    site: Site, encoder: Path
) -> None:
    site.use(str(encoder))
    new_hash = site.reindex()["encoder_hash"]
    for digest in (path.name for path in site.derived):
        shipped, read_again = site.store.load(digest), site.store.load(digest, encoder_hash=new_hash)
        (old,), (new,) = shipped.header.entries, read_again.header.entries
        assert read_again.header.encoder_hash == new_hash != shipped.header.encoder_hash
        assert (new.odds or 0) >= (old.odds or 0)
        assert read_again.digest == shipped.digest
        assert read_again.tensors["scope.text"].shape == (len(shipped.header.questions), 32)


def test_a_derived_index_is_swept_with_its_shard(site: Site, encoder: Path) -> None:
    site.use(str(encoder))
    site.reindex()
    keep, _ = site.derived
    assert site.store.sweep(keep=[keep.name], older_than_seconds=-1).removed == 2
    assert site.derived == [keep]


def test_without_an_encoder_there_is_nothing_to_make(site: Site) -> None:
    site.use("")
    with pytest.raises(BadSettings, match="name the encoder"):
        site.reindex()
