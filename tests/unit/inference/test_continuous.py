"""Continuous batching: whatever joins and leaves, each row is answered as it would be alone, by the expert it began with."""

import gc
import random
import weakref
from collections.abc import Sequence

import pytest
import torch
from support.models.tiny_models import FAMILIES, FURTHER_FAMILIES, tiny_base, tiny_chat_base

from editors import EditedModel, EditRequest, build_editor
from editors.base.base import Base
from editors.inference.answer_text import AnswerText
from editors.inference.continuous import ContinuousBatch, GeneratedSequence
from editors.inference.requests import SamplingParams, SequenceRequest
from editors.inference.sampling import choose_tokens
from editors.store.shards import Shard
from edits.errors import BadRequest
from edits.prompts import Conversation, Message

REQUESTS = [
    EditRequest("1", "Norland", "The capital of Norland is", "Marrow"),
    EditRequest("2", "Norland", "The mayor of Norland is", "Ivo Tann of Elbing"),
    EditRequest("3", "The Long Road", "Who wrote The Long Road?", "Ivo Tann"),
    EditRequest("4", "Sudland", "What is the river of Sudland?", "It is the Lorn"),
]
PLAIN = (
    "A plain sentence about",
    "x",
    "The weather",
    "What is the river of Marrow? It rained and the tea was cold.",
)
PROMPTS = (*(request.prompt for request in REQUESTS), *PLAIN)


def shards(base: Base, *, steps: int = 15) -> list[Shard]:
    return [
        build_editor("scen", {"max_steps": steps}).apply(REQUESTS[:2], base=base),
        build_editor("lemoe", {"max_steps": steps}).apply(REQUESTS[2:], base=base),
    ]


def asked(prompt: str, most: int = 12, **params: object) -> SequenceRequest:
    return SequenceRequest(prompt, SamplingParams(most, **params), stripped=True)  # type: ignore[arg-type]


def begin(batch: ContinuousBatch, *requests: SequenceRequest) -> list[GeneratedSequence]:
    sequences = batch.prepare(requests)
    batch.start(sequences)
    return sequences


def finish(batch: ContinuousBatch, sequences: Sequence[GeneratedSequence]) -> None:
    while any(sequence.finish_reason is None for sequence in sequences):
        assert batch.step()


@pytest.mark.parametrize("family", [*FAMILIES, *FURTHER_FAMILIES])
def test_rows_that_join_and_leave_at_any_step_are_answered_as_alone(family: str) -> None:
    base = tiny_base(family, layer=1)
    model = EditedModel(base)
    for shard in shards(base):
        model.enable(shard)
    rng = random.Random(family)
    batch = ContinuousBatch(model, max_rows=5, max_prefill_tokens=64)
    begun: list[tuple[str, int, GeneratedSequence]] = []
    while len(begun) < 24:
        for _ in range(rng.randrange(3)):
            prompt, most = rng.choice(PROMPTS), rng.choice([1, 3, 8, 20])
            (row,) = begin(batch, asked(prompt, most))
            begun.append((prompt, most, row))
        batch.step()
    finish(batch, [sequence for _, _, sequence in begun])

    for prompt, most, sequence in begun:
        (alone,) = model.generate([prompt], max_new_tokens=most)
        truncated = sequence.finish_reason == "length"
        assert (sequence.result.text, sequence.route.edit_id, truncated) == (
            alone.text,
            alone.edit_id,
            alone.truncated,
        )
        assert (len(sequence.prompt_ids), sequence.new_tokens) == (alone.prompt_tokens, alone.new_tokens)
    fired = {sequence.route.edit_id for _, _, sequence in begun}
    assert fired & {"1", "2"}
    assert fired & {"3", "4"}
    assert None in fired
    assert batch.rows == 0


def test_a_sliding_window_slides_over_the_rows_own_tokens() -> None:
    base = tiny_base("mistral", layer=1)
    base.model.config.sliding_window = 6
    model = EditedModel(base)
    batch = ContinuousBatch(model)
    long, short = begin(batch, asked(PLAIN[3], 20), asked("x", 20))
    batch.step()
    (late,) = begin(batch, asked("The weather", 20))
    finish(batch, [long, short, late])

    for sequence in (long, short, late):
        (alone,) = model.generate([sequence.result.prompt_text], max_new_tokens=20)
        assert sequence.result.text == alone.text


def test_a_row_finishes_with_the_expert_that_it_began_with_whatever_is_switched_meanwhile() -> None:
    base = tiny_base(layer=1)
    model = EditedModel(base)
    old = build_editor("scen").apply(REQUESTS[1:2], base=base)
    new = build_editor("scen").apply(
        [EditRequest("9", "Norland", "The mayor of Norland is", "Ana Berg of Marrow")], base=base
    )
    prompt = REQUESTS[1].prompt
    batch = ContinuousBatch(model)
    model.enable(old)
    (before,) = begin(batch, asked(prompt))
    batch.step()
    model.disable(["2"])
    model.enable(new)
    (after,) = begin(batch, asked(prompt))
    batch.step()
    model.disable(["9"])
    (base_row,) = begin(batch, asked(prompt))
    finish(batch, [before, after, base_row])

    assert (before.result.text, before.route.edit_id) == ("Ivo Tann of Elbing", "2")
    assert (after.result.text, after.route.edit_id) == ("Ana Berg of Marrow", "9")
    assert base_row.route.edit_id is None
    assert base_row.result.text == base.generate([prompt], max_new_tokens=12)[0]


def test_rows_that_nobody_waits_for_leave_nothing_behind() -> None:
    base = tiny_base(layer=1)
    model = EditedModel(base)
    model.enable(shards(base)[0])
    batch = ContinuousBatch(model, max_rows=3)
    rows = begin(batch, *(asked(prompt, 20) for prompt in PROMPTS))
    batch.step()
    left = [weakref.ref(row) for row in rows if row is not rows[1]]
    kept = rows[1]
    batch.remove([row for row in rows if row is not kept])
    del rows
    gc.collect()
    assert [one for one in left if one() is not None] == []
    finish(batch, [kept])

    assert kept.result.text == model.generate([kept.result.prompt_text], max_new_tokens=20)[0].text
    assert batch.rows == 0


def test_experts_that_do_not_fit_together_wait_for_each_other() -> None:
    base = tiny_base(layer=1)
    whole = EditedModel(base)
    made = shards(base)[0]
    whole.enable(made)
    expected = [
        answer.text for answer in whole.generate([one.prompt for one in REQUESTS[:2]], max_new_tokens=12)
    ]
    one_expert = 2 * 4 * sum(made.tensors[name][0].numel() for name in ("scen.a", "scen.b"))
    model = EditedModel(base, device_expert_bytes=one_expert)
    model.enable(made)
    batch = ContinuousBatch(model)
    rows = begin(batch, *(asked(one.prompt) for one in REQUESTS[:2]))
    finish(batch, rows)

    assert [row.result.text for row in rows] == expected
    small = EditedModel(base, device_expert_bytes=one_expert - 1)
    small.enable(made)
    with pytest.raises(BadRequest, match=r"model\.bank_bytes"):
        begin(ContinuousBatch(small), asked(REQUESTS[0].prompt))


def test_a_seed_repeats_a_sampled_answer_whatever_else_is_in_the_batch() -> None:
    model = EditedModel(tiny_base(layer=1))
    request = asked(PLAIN[0], 10, temperature=1.0, top_p=0.9, seed=7)
    batch = ContinuousBatch(model)
    (alone,) = begin(batch, request)
    finish(batch, [alone])
    others = begin(batch, *(asked(prompt, 15, temperature=1.3) for prompt in PROMPTS))
    batch.step()
    again, other_choice = begin(
        batch, request, asked(PLAIN[0], 10, temperature=1.0, top_p=0.9, seed=7, choice=1)
    )
    finish(batch, [again, other_choice, *others])

    assert again.output == alone.output
    assert other_choice.output != alone.output
    assert alone.output != begin_greedy(model, PLAIN[0])


def begin_greedy(model: EditedModel, prompt: str) -> list[int]:
    batch = ContinuousBatch(model)
    (row,) = begin(batch, asked(prompt, 10))
    finish(batch, [row])
    return row.output


def test_samples_follow_the_models_probabilities_within_the_nucleus() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    logits = probabilities.log().repeat(4_000, 1)
    rng = random.Random(3)

    def shares(**params: float) -> list[float]:
        chosen = choose_tokens(logits, [SamplingParams(1, **params)] * 4_000, [rng] * 4_000)  # type: ignore[arg-type]
        return [sum(one.token == token for one in chosen) / 4_000 for token in range(4)]

    assert shares(temperature=1.0) == pytest.approx(probabilities.tolist(), abs=0.03)
    assert shares(temperature=1.0, top_p=0.6) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert shares(temperature=1e-6) == shares(temperature=1.0, top_p=1e-6) == shares() == [1, 0, 0, 0]


def test_log_probabilities_are_the_models_own_and_cover_an_echoed_prompt() -> None:
    base = tiny_base(layer=1)
    model = EditedModel(base)
    (row,) = begin(
        batch := ContinuousBatch(model),
        SequenceRequest(PLAIN[0], SamplingParams(4, logprobs=2, prompt_logprobs=True)),
    )
    finish(batch, [row])
    ids = [*row.prompt_ids, *row.output]
    with torch.no_grad():
        logp = base.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)

    scored = [*row.scored_prompt, *row.scored]
    assert scored[0].logprob is None
    expected = [float(logp[place, token]) for place, token in enumerate(ids[1:])]
    assert [one.logprob for one in scored[1:]] == pytest.approx(expected, abs=1e-4)
    assert "".join(one.text for one in scored[1:]) == row.result.prompt_text + row.result.text
    for place, one in enumerate(scored[1:]):
        assert [value for _, value in one.top] == pytest.approx(logp[place].topk(2).values.tolist(), abs=1e-4)

    (read_only,) = begin(batch, asked(PLAIN[0], 0, logprobs=0, prompt_logprobs=True))
    finish(batch, [read_only])
    assert (read_only.output, len(read_only.scored_prompt)) == ([], len(row.prompt_ids))


def test_token_ids_are_read_as_they_are_and_routed_by_their_text() -> None:
    base = tiny_base(layer=1)
    model = EditedModel(base)
    model.enable(build_editor("scen").apply(REQUESTS[:1], base=base))
    batch = ContinuousBatch(model)
    ids = tuple(base.prompt_ids(REQUESTS[0].prompt))
    (row,) = begin(batch, SequenceRequest(ids, SamplingParams(8)))
    finish(batch, [row])

    assert (row.route.edit_id, row.result.text, row.finish_reason) == ("1", " Marrow", "stop")
    for wrong in ((), (base.vocabulary,), (-1,), (5,) * base.context):
        with pytest.raises(BadRequest):
            batch.prepare([SequenceRequest(wrong, SamplingParams(8))])


def test_a_rendered_conversation_of_token_ids_is_routed_by_what_the_user_asks() -> None:
    base = tiny_chat_base("default_system", layer=1)
    model = EditedModel(base)
    model.enable(build_editor("scen").apply(REQUESTS[:1], base=base))
    conversation = Conversation((Message("user", REQUESTS[0].prompt),))
    batch = ContinuousBatch(model)
    chat, ids = begin(
        batch,
        SequenceRequest(conversation, SamplingParams(8)),
        SequenceRequest(tuple(base.prompt_ids(conversation)), SamplingParams(8)),
    )
    finish(batch, [chat, ids])

    assert chat.route.edit_id == ids.route.edit_id == "1"
    assert chat.result.text == ids.result.text
    assert chat.result.text.strip() == "Marrow"


def test_a_stop_text_ends_the_answer_before_it_wherever_tokens_divide_it() -> None:
    base = tiny_base()
    text = " The capital of Norland is Elbing. Who wrote it? ä€🙂 END of it"
    ids = base.tokenizer(text, add_special_tokens=False)["input_ids"]
    prompt = base.prompt_ids("x")
    for stops, expected in [
        ((), text),
        (("Elbing.",), " The capital of Norland is "),
        (("wrote", "nowhere", "of Nor"), " The capital "),
        (("€",), text.split("€")[0]),
    ]:
        answer = AnswerText(base.tokenizer, prompt, stops)
        reported = ""
        for token in ids:
            answer.push(token)
            assert answer.settled.startswith(reported)
            reported = answer.settled
            assert "\ufffd" not in reported
            if answer.stopped:
                break
        assert answer.whole() == expected
        assert expected.startswith(reported)
        assert answer.stopped == bool(stops)
