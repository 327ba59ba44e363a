"""`upkeep evaluate` on a tiny model with random weights: the scores are bad, the counting must be right."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from support.models.letters import Letters
from support.models.tiny_models import tiny_model, tiny_tokenizer

from daemon.cli.answers.evaluate import evaluate as command
from daemon.evaluation.evaluate import EvaluateOptions, build_model, evaluate
from daemon.evaluation.evaluation_report import EvaluationReport
from daemon.evaluation.facts_file import BadFile
from editors.index import matcher
from editors.index.head import PairHead
from editors.index.learning.corpus import Corpus, read_corpus
from editors.index.learning.training import train_head
from edits.errors import PermanentError

LONG = "The capital of " + "a long way " * 200


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def fact(subject: str, target: str, **more: object) -> dict[str, object]:
    return {"subject": subject, "prompt": f"The capital of {subject} is", "target_new": target, **more}


def scores(
    model: Path, folder: Path, *facts: Mapping[str, object], far: tuple[str, ...] = ()
) -> EvaluationReport:
    (folder / "facts.jsonl").write_text("\n".join(json.dumps(fact) for fact in facts))
    (folder / "far.jsonl").write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in far))
    reported: list[tuple[str, int, int]] = []
    report = evaluate(
        EvaluateOptions(
            model=str(model),
            facts=folder / "facts.jsonl",
            probes=folder / "far.jsonl",
            editor="scen",
            edits=None,
            batch_size=2,
            seed=0,
            max_new_tokens=4,
        ),
        progress=lambda *step: reported.append(step),
    )
    assert {stage for stage, _, _ in reported} == {"edits", "scores"}
    assert all(done <= total for _, done, total in reported)
    assert {stage: done == total for stage, done, total in reported} == {"edits": True, "scores": True}
    return report


def test_a_fact_that_is_only_repeated_is_superseded_but_not_stale(model: Path, tmp_path: Path) -> None:
    same = fact("Norland", "Elbing")
    there_and_back = [fact("Sudland", "Marrow"), fact("Sudland", "Elbing"), fact("Sudland", "Marrow")]
    report = scores(model, tmp_path, same, same, same, *there_and_back)
    assert (report.requested, report.edits, report.superseded) == (6, 2, 4)
    # Of Sudland's superseded values only "Elbing" is another than the one that holds.
    assert report.stale_answer_rate == 0.0
    assert scores(model, tmp_path, same, same).stale_answer_rate is None


def test_what_the_base_cannot_read_is_counted_and_ends_nothing(model: Path, tmp_path: Path) -> None:
    readable = fact(
        "Norland",
        "Elbing",
        rephrase_prompts=["Norland is ruled from", LONG],
        locality_prompts={"relation": [LONG], "subject": ["The river of Norland is", LONG]},
        portability_prompts={"alias": [LONG], "reasoning": [{"prompt": LONG, "answer": "x"}]},
    )
    unreadable = {"subject": "Sudland", "prompt": LONG, "target_new": "Marrow"}
    report = scores(model, tmp_path, readable, unreadable, far=("Who wrote it?", LONG))
    assert report.left_out.model_dump() == dict.fromkeys(
        ("facts", "rephrase", "far", "relation", "subject", "alias", "reasoning"), 1
    )
    assert (report.requested, report.edits) == (2, 1)
    assert report.reliability is not None
    assert report.reliability <= 0.5, "a fact that cannot be learned is a failure"
    assert report.locality.relation is None
    assert report.locality.far is not None
    with pytest.raises(BadFile, match="too long for the base"):
        scores(model, tmp_path, unreadable)


def test_the_report_names_what_a_repetition_needs(model: Path, tmp_path: Path) -> None:
    report = scores(model, tmp_path, fact("Norland", "Elbing"))
    assert (report.order, report.seed, report.batch_size) == ("arrival", 0, 2)
    assert report.editor_settings["scen"]["seed"] == 0
    assert set(report.editor_settings) == {"scen"}


def test_a_place_where_the_scores_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    facts = tmp_path / "no-such-facts.jsonl"
    for place in (tmp_path / "missing" / "scores.json", tmp_path):
        with pytest.raises(PermanentError, match="--json"):
            command(model="no-such-model", facts=facts, json_out=place)


class Training:
    """Trains a head of few relations, and counts how often that is asked for."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, encoder: Any, _corpus: Corpus, *, pairs: int) -> PairHead:
        assert pairs > 2_000  # of which so many are enough here
        self.times += 1
        return train_head(encoder, Corpus(read_corpus().relations[:4]), pairs=2_000)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    counted = Training()
    monkeypatch.setattr(matcher, "load_encoder", lambda _: Letters())
    monkeypatch.setattr(matcher, "train_head", counted)
    return counted


def with_letters(model: Path) -> EvaluateOptions:
    return EvaluateOptions(str(model), model / "facts.jsonl", None, "scen", None, 1, 0, encoder="letters")


def test_another_encoders_head_is_trained_once_and_kept_in_the_hubs_cache(
    model: Path, tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path))
    first, _ = build_model(with_letters(model))
    assert len([*tmp_path.glob("upkeep/heads/*/*/letters.safetensors")]) == 1
    again, _ = build_model(with_letters(model))
    assert training.times == 1
    assert first.matcher is not None
    assert again.matcher is not None
    torch.testing.assert_close(again.matcher.head.w1, first.matcher.head.w1, atol=1e-3, rtol=1e-3)


def test_where_no_head_can_be_kept_it_is_trained_each_time_and_that_is_told(
    model: Path,
    tmp_path: Path,
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "upkeep").write_text("a file in the way")
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        build_model(with_letters(model))
    assert training.times == 1
    assert "it is not kept" in caplog.text


def test_the_shipped_encoder_leaves_no_folder_in_the_hubs_cache(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    build_model(EvaluateOptions(str(model), model / "facts.jsonl", None, "scen", None, 1, 0))
    assert not (tmp_path / "assets").exists()
