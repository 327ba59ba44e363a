"""The pair head over many pairs at once, and what is said when an encoder has none."""

import hashlib
import logging
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from support.models.letters import Letters

from editors.index import DEFAULT_ENCODER, load_matcher, matcher
from editors.index.head import PairHead
from editors.index.learning.corpus import Corpus, read_corpus
from editors.index.learning.training import train_head
from editors.index.matcher import MAX_ODDS, MIN_ODDS, OWN_SHARE, TARGET, QuestionMatcher, kept_head
from editors.index.wording.wording import pair_features, read_words


@pytest.fixture(scope="module")
def head() -> PairHead:
    encoder: Any = Letters()
    return train_head(encoder, Corpus(read_corpus().relations[:8]), pairs=50_000)


def test_the_shipped_head_is_small_and_its_card_is_about_it() -> None:
    data = files("editors.index") / "data"
    weights, card = (data / "head.safetensors").read_bytes(), (data / "HEAD.md").read_text()
    assert len(weights) <= 2_000_000
    told = (
        f"# The pair head of {DEFAULT_ENCODER.rpartition('/')[2]}",
        f"{len(weights) / 1e6:.1f} MB",
        f"{len(load_matcher().head.bank)} questions",
        f"`{hashlib.sha256(weights).hexdigest()}`",
    )
    assert [part for part in told if part not in " ".join(card.split())] == []


def test_thresholds_of_many_questions_are_those_of_each_alone() -> None:
    loaded = load_matcher()
    questions = loaded.encode(loaded.head.bank.texts[:40])
    for target in (0.001, 0.01, 0.2):
        together = loaded.thresholds(questions, target_false_fire=target)
        alone = [loaded.thresholds(questions.rows([n]), target_false_fire=target) for n in range(40)]
        torch.testing.assert_close(together, torch.cat(alone))
    assert loaded.thresholds(questions.rows([]), target_false_fire=0.01).shape == (0,)


def test_a_stricter_target_never_lowers_a_threshold_and_all_lie_within_the_bounds() -> None:
    loaded = load_matcher()
    questions = loaded.encode(loaded.head.bank.texts[::9])
    targets = (0.2, 0.05, TARGET, 0.002, 0.0005)
    found = [loaded.thresholds(questions, target_false_fire=target) for target in targets]
    assert all(bool((stricter >= one).all()) for one, stricter in pairwise(found))
    ours = found[targets.index(TARGET)]
    assert MIN_ODDS - 1e-6 <= float(ours.min()) < float(ours.max()) <= MAX_ODDS + 1e-6
    # Few questions of the bank, each asked of one that stands in it, are let through: its own, and what is like it.
    fired = (loaded.odds(questions, loaded.head.bank) >= ours[:, None]).float().mean(1)
    assert float(fired.median()) <= TARGET + OWN_SHARE


def test_odds_of_all_pairs_are_those_of_each_pair_and_symmetric(head: PairHead) -> None:
    encoder: Any = Letters()
    both = QuestionMatcher(encoder, head)
    one, other = both.encode(head.bank.texts[:9]), both.encode(head.bank.texts[3:])
    odds = both.odds(one, other)
    single = torch.stack([both.odds(one.rows([n]), other.rows([4]))[0, 0] for n in range(len(one))])
    torch.testing.assert_close(odds[:, 4], single, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(odds, both.odds(other, one).T, atol=1e-4, rtol=1e-4)


def test_words_that_two_questions_share_are_counted_by_stem_and_empty_ones_are_not() -> None:
    one = read_words(["who is the mother of x?", "what is the x"])
    other = read_words(["where was the mother of x born?", "mothers x mother"])
    found = pair_features(one.against(1), other.against(0))
    assert found.shape == (2, 2, 5)
    assert found[0, 0].tolist() == pytest.approx([1, 0.5, 1 / 3, 0, 1])  # {mother}, {mother, born}
    assert found[0, 1].tolist() == pytest.approx([1, 1, 0, 0, 0])  # letters after the fifth are no other word
    assert found[1, 0].tolist() == pytest.approx([0, 0, 2 / 3, 0, 0])


def test_an_encoder_without_a_head_is_told_and_its_head_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(matcher, "load_encoder", lambda _: Letters())
    monkeypatch.setattr(matcher, "read_corpus", lambda: Corpus(read_corpus().relations[:8]))
    with caplog.at_level(logging.WARNING):
        trained = load_matcher("letters", heads=tmp_path / "heads", training_pairs=50_000)
    kept = kept_head(tmp_path / "heads", "letters")
    (reported,) = (record.getMessage() for record in caplog.records)
    assert all(part in reported for part in ("letters", "quarter of an hour", str(kept)))
    caplog.clear()
    again = load_matcher("letters", heads=tmp_path / "heads")
    assert not caplog.records
    torch.testing.assert_close(again.head.w1, trained.head.w1, atol=1e-3, rtol=1e-3)


def test_a_head_kept_beside_another_shipped_head_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept_head(tmp_path, "sha256:letters")
    shipped = tmp_path / "shipped.safetensors"
    shipped.write_bytes(b"of another release")
    monkeypatch.setattr(matcher, "_shipped_head", lambda: shipped)
    after = kept_head(tmp_path, "sha256:letters")
    assert before != after
    assert before.name == after.name == "letters.safetensors"
