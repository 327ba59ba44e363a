"""Embedders of the planner: what each must keep, the ledger's cache, and what happens where no model can be used."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from support.ledger.ledger_backends import Story, event
from support.models.tiny_models import tiny_model, tiny_tokenizer

from daemon.ledger.values import Lane
from daemon.planning.base_vectors import BaseVectors
from daemon.planning.cycle import draft_cycle, plan_cycle
from daemon.planning.embedders import open_embedder
from daemon.settings.complaints import BadSettings
from daemon.settings.settings import Settings
from daemon.settings.tables import ModelSettings, PlanningSettings
from editors.base.base import load_base
from planners import Embedder

TEXTS = ["The capital of Norland is", "Who wrote The Long Road?", "The capital of Sudland is", "東京"]


@pytest.fixture
def url(tmp_path: Path, migrated_sqlite: Path) -> str:
    """SQLite alone: the ledger's own tests show that both databases keep embeddings alike."""
    (tmp_path / "ledger.db").write_bytes(migrated_sqlite.read_bytes())
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base")
    tiny_model("llama").save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """What we use of sentence-transformers, without its gigabytes: the contract of our adapter, not of the package."""

    class SentenceTransformer:
        def __init__(
            self, name: str, *, device: str | None, trust_remote_code: bool, model_kwargs: object
        ) -> None:
            assert not trust_remote_code

        def encode(self, texts: Sequence[str], **_: object) -> np.ndarray:
            return np.array([[len(text), text.count("a"), 1.0] for text in texts])

    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.setattr("daemon.planning.sentence_vectors.version", lambda name: "3.0")


def settings(folder: Path | None, **planner: object) -> Settings:
    model = ModelSettings(path=None if folder is None else str(folder), device="cpu")
    return Settings(model=model, planner=PlanningSettings.model_validate(planner))


@pytest.fixture(params=["base", "sentence-transformers", "tfidf"])
def embedder(
    request: pytest.FixtureRequest, folder: Path, sentences: None, story: Story
) -> Callable[[], Embedder]:
    return lambda: open_embedder(settings(folder, embedding=request.param), story.ledger)


def test_an_embedder_gives_one_unit_vector_per_text_and_the_same_ones_again(
    embedder: Callable[[], Embedder],
) -> None:
    asked = [*TEXTS, TEXTS[0]]
    first = embedder().embed(asked)
    assert first.shape[0] == 5
    assert first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1.0, atol=1e-3)
    np.testing.assert_array_equal(first[0], first[4])
    np.testing.assert_array_equal(embedder().embed(asked), first)


def test_the_base_is_asked_once_for_each_text(
    folder: Path, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    truly = BaseVectors.vectors
    monkeypatch.setattr(BaseVectors, "vectors", lambda self, texts: asked.extend(texts) or truly(self, texts))
    open_embedder(settings(folder), story.ledger).embed([*TEXTS, TEXTS[0]])
    assert asked == TEXTS
    open_embedder(settings(folder), story.ledger).embed([*TEXTS, "something new"])
    assert asked[len(TEXTS) :] == ["something new"]


def test_a_prompt_has_the_same_vector_whatever_it_is_embedded_with(folder: Path) -> None:
    base = BaseVectors(load_base(folder, device="cpu"))
    long = "The river of Marrow is the Lorn. " * 500
    texts = [*TEXTS, long, "", "a"]
    together = base.vectors(texts)
    assert np.isfinite(together).all()
    alone = np.concatenate([base.vectors([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert not np.allclose(together[0], together[1])


def test_a_prompt_that_is_too_long_for_the_base_stops_no_plan(folder: Path, story: Story) -> None:
    long = "The river of Marrow is the Lorn. " * 60
    story.arrive(*(event(f"e{n}", f"Land{n}") for n in range(6)), event("long", "Marrow", prompt=long))
    plan = plan_cycle(story.ledger, settings(folder, batch_size=4), lanes=(Lane.BATCH,))
    assert plan is not None
    assert plan.explanation["embedding"] == "base"
    assert sum(len(batch.edit_ids) for batch in plan.batches) == 7


def test_where_the_base_cannot_be_used_the_plan_goes_by_words(story: Story, tmp_path: Path) -> None:
    story.arrive(*(event(f"e{n}", f"Land{n}") for n in range(6)))
    for unusable in (None, tmp_path):
        cycle = draft_cycle(story.ledger, settings(unusable, batch_size=4), lanes=(Lane.BATCH,))
        assert cycle is not None
        assert cycle.draft.explanation["embedding"] == "tfidf"


def test_an_embedding_that_is_not_installed_says_what_to_install(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    story.arrive(event("a"))
    with pytest.raises(BadSettings, match="pip install"):
        plan_cycle(story.ledger, settings(None, embedding="sentence-transformers"), lanes=(Lane.BATCH,))
