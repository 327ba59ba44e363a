"""Answers are plain greedy ones, one line long, whatever a checkpoint says of generation and a tokenizer of its tokens."""

import copy
import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from support.models.checkpoint_writer import DEMO
from support.models.tiny_models import tiny_base, tiny_model, tiny_tokenizer
from tokenizers import normalizers

from editors import Base, EditedModel, EditRequest, build_editor, load_base
from editors.base.endings import Ending, LineTokens, plain_ending
from editors.inference.continuous import ContinuousBatch
from editors.inference.requests import SamplingParams, SequenceRequest
from edits.errors import BadRequest, BaseUnreadable
from edits.judging import is_exact

PROMPTS = ["The capital of France is", "What is the capital of Italy?", "It rained and"]
SETTINGS: dict[str, Any] = {
    "repetition_penalty": 1.1, "stop_strings": ["a", "<|stop|>"], "max_time": 0.001, "num_beams": 3, "do_sample": True,
    "temperature": 0.1, "top_k": 3, "top_p": 0.2, "min_p": 0.1, "typical_p": 0.3, "no_repeat_ngram_size": 1,
    "min_new_tokens": 7, "min_length": 30, "max_length": 9, "max_new_tokens": 1, "bad_words_ids": [[5], [9]],
    "suppress_tokens": [5, 6, 7, 8, 9, 10], "begin_suppress_tokens": [5, 6, 7, 8, 9], "forced_bos_token_id": 5,
    "forced_eos_token_id": 1, "sequence_bias": [[[5], 30.0]], "exponential_decay_length_penalty": [1, 2.0],
    "renormalize_logits": True, "remove_invalid_values": True, "guidance_scale": 3.0, "length_penalty": 0.2,
    "num_return_sequences": 2, "early_stopping": True, "use_cache": False, "output_scores": True, "penalty_alpha": 0.6,
    "epsilon_cutoff": 0.1, "eta_cutoff": 0.1, "cache_implementation": "static", "prompt_lookup_num_tokens": 3,
    "return_dict_in_generate": False, "output_attentions": True, "token_healing": True, "encoder_repetition_penalty": 3.0,
    "diversity_penalty": 0.5, "num_beam_groups": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> list[str]:
    return load_base(DEMO, device="cpu").generate(PROMPTS, max_new_tokens=8)


@pytest.mark.filterwarnings("ignore")  # transformers' advice on settings that go together
@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_of_generation_that_a_checkpoint_brings_changes_an_answer(
    tmp_path: Path, plain: list[str], name: str
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(DEMO, folder)
    reported = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**reported, name: SETTINGS[name]}))
    base = load_base(folder, device="cpu")
    assert base.generate(PROMPTS, max_new_tokens=8) == plain


def test_every_end_of_a_sequence_that_a_checkpoint_lists_ends_an_answer(tmp_path: Path) -> None:
    base = load_base(DEMO, device="cpu")
    second = base.generate_ids([base.prompt_ids(PROMPTS[0])], max_new_tokens=3)[0][1]
    folder = tmp_path / "base"
    shutil.copytree(DEMO, folder)
    reported = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(
        json.dumps({**reported, "eos_token_id": [second, base.eos_id]})
    )
    listed = load_base(folder, device="cpu")
    assert len(listed.generate_ids([listed.prompt_ids(PROMPTS[0])], max_new_tokens=3)[0]) == 1


@pytest.mark.parametrize("ends", [[[1]], "one", True, 1.5, {"id": 1}])
def test_ends_that_are_no_ids_are_refused_in_one_line(tmp_path: Path, ends: Any) -> None:
    folder = tmp_path / "base"
    shutil.copytree(DEMO, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}), "utf-8-sig")
    with pytest.raises(BaseUnreadable, match="eos_token_id") as refusal:
        load_base(folder, device="cpu")
    assert "\n" not in str(refusal.value)


def _saying(*texts: str) -> Base:
    """A base whose tokenizer joins line breaks with other text, and which says these texts' tokens one behind the other."""
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.add_tokens([")\n", "\n\n", "\n}", " \n"])
    model = tiny_model("llama", vocab_size=len(tokenizer))
    base = Base(model, tokenizer, base_hash="x")
    script = [i for text in texts for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
    start = len(base.prompt_ids("The"))

    def say(_: Any, __: Any, out: Any) -> Any:
        place = out.past_key_values.get_seq_length() - start
        out.logits[:, -1] = torch.nn.functional.one_hot(
            torch.tensor(script[min(place, len(script) - 1)]), out.logits.shape[-1]
        ).to(out.logits)
        return out

    model.register_forward_hook(say)
    return base


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        (("f(x", ")\n", "more"), "f(x)"),
        (("\n\n", "Lorn", "\n\n", "more"), "Lorn"),
        ((" ", "\n\n", " \n", " Lorn", " \n", "more"), "Lorn"),
        (("Lorn", "\n}", "more"), "Lorn"),
        (("\n}", " x", "\n\n", "more"), "} x"),
        (("Lorn", "</s>", "more"), "Lorn"),
        (("\n\n", "</s>", "more"), ""),
        ((")\n", "more"), ")"),
    ],
)
def test_an_answer_is_the_first_line_with_any_text_and_all_of_it(
    script: tuple[str, ...], answer: str
) -> None:
    base = _saying(*script)
    (output,) = base.generate_outputs(["The"], max_new_tokens=12)
    batch = ContinuousBatch(EditedModel(base))
    (sequence,) = batch.prepare([SequenceRequest("The", SamplingParams(12), stripped=True)])
    batch.start([sequence])
    while sequence.finish_reason is None:
        batch.step()
    result = sequence.result
    assert (
        (output.text, output.truncated) == (result.text, result.finish_reason == "length") == (answer, False)
    )
    assert output.new_tokens == result.new_tokens
    (scored,) = base.generate_scored([base.prompt_ids("The")], max_new_tokens=12)
    assert len(scored[0]) == output.new_tokens


def test_an_answer_that_the_limit_ends_inside_its_line_is_truncated() -> None:
    base = _saying("f(x", ")\n", "more")
    whole = base.generate_outputs(["The"], max_new_tokens=12)[0]
    at_its_end, before = (
        base.generate_outputs(["The"], max_new_tokens=whole.new_tokens - less)[0] for less in (0, 1)
    )
    assert (at_its_end.text, at_its_end.truncated) == ("f(x)", False)
    assert (before.text, before.truncated, before.new_tokens) == ("f(x", True, whole.new_tokens - 1)


def test_the_ends_of_a_row_are_found_the_same_in_a_batch_and_token_by_token() -> None:
    ending = plain_ending(tiny_tokenizer(), (1,))
    assert ending.lines.breaks
    assert ending.lines.breaks & ending.lines.blank
    fused = Ending(
        frozenset((1,)), True, LineTokens(frozenset((7, 8)), frozenset((8,)), frozenset(), frozenset((7,)))
    )
    assert fused.before_stop([7, 7, 5, 8, 9]) == fused.until_stop([7, 7, 5, 8, 9]) == [7, 7, 5, 8]
    assert fused.before_stop([7, 5, 7, 9]) == [7, 5]
    assert fused.until_stop([7, 5, 7, 9]) == [7, 5, 7]


def test_a_value_in_another_composition_than_the_tokenizer_has_is_learned_and_right() -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    base = Base(tiny_model("llama"), tokenizer, base_hash="x")
    wanted = unicodedata.normalize("NFD", "Ané")
    model = EditedModel(base)
    model.enable(
        build_editor("scen").apply(
            [EditRequest("1", "Norland", "The mayor of Norland is", wanted)], base=base
        )
    )
    (answer,) = model.generate(["The mayor of Norland is"])
    assert answer.text != wanted
    assert is_exact(answer.text, wanted)
    assert not is_exact("ané", wanted)


def test_what_a_model_says_is_not_tidied() -> None:
    base = tiny_base()
    base.tokenizer.clean_up_tokenization_spaces = True
    try:
        assert base.decode(base.tokenizer(" a , b .", add_special_tokens=False)["input_ids"]) == "a , b ."
    finally:
        base.tokenizer.clean_up_tokenization_spaces = False


def test_half_a_character_is_refused_not_stumbled_over() -> None:
    model = EditedModel(tiny_base())
    for prompt in ("a \ud800 b", "\udfff"):
        with pytest.raises(BadRequest, match="surrogate"):
            model.generate([prompt])
        with pytest.raises(BadRequest, match="surrogate"):
            ContinuousBatch(model).prepare([SequenceRequest(prompt, SamplingParams(4))])
