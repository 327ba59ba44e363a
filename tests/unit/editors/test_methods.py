"""The methods' registry, and what their settings and shards keep from release to release."""

import json
from pathlib import Path

import pytest
import torch
from support.models.tiny_models import tiny_base

from editors import Base, EditedModel, EditRequest, build_editor, load_base
from editors.methods.common.schedule import RowSchedule
from editors.methods.common.training_rows import CachedRows
from editors.methods.registry import EDITORS, METHODS, Method, MethodRegistry
from editors.methods.scen.editor import ScenEditor
from editors.methods.scen.settings import ScenSettings
from editors.store.header import ShardEntry
from edits.errors import BadRequest


@pytest.fixture(scope="module")
def demo_base() -> Base:
    return load_base(str(Path(__file__).parents[3] / "demo" / "base"), device="cpu")


def test_two_methods_of_one_name_and_mode_are_refused() -> None:
    registry = MethodRegistry()
    registry.register(Method("default", ScenSettings, ScenEditor))

    with pytest.raises(ValueError, match="two editors are called 'scen' in the mode 'default'"):
        registry.register(Method("default", ScenSettings, ScenEditor))


@pytest.mark.parametrize("mode", ["default", "paper"])
@pytest.mark.parametrize("name", EDITORS)
def test_an_editor_is_called_what_the_ledger_calls_it_in_every_mode(name: str, mode: str) -> None:
    assert build_editor(name, {"mode": mode}).name == name
    assert METHODS.find(name, mode).name == name


def test_an_unknown_name_or_mode_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(BadRequest, match="no editor is called 'rome': use one of scen, lemoe"):
        build_editor("rome")
    with pytest.raises(BadRequest, match=r"editors\.lemoe\.mode = 'papers': use one of default, paper"):
        build_editor("lemoe", {"mode": "papers"})


def test_settings_that_methods_share_keep_each_methods_own_default() -> None:
    shared = ("openings", "rephrases", "chat_rows", "chat_answer", "max_answer_tokens")
    scen, lemoe = (build_editor(name).settings.model_dump() for name in ("scen", "lemoe"))

    assert [scen[key] for key in shared] == [2, 2, 1, "value", 16]
    assert [lemoe[key] for key in shared] == [0, 1, 1, "value", 16]
    assert scen["target_false_fire"] == lemoe["target_false_fire"] == 0.01


def test_a_fact_is_learned_by_scen_alike_alone_and_in_any_company() -> None:
    base = tiny_base("llama")
    facts = [EditRequest(str(n), f"Lake {name}", f"Which river feeds Lake {name}?", f"the {name} Beck")
             for n, name in enumerate(("Orrin", "Tell", "Vasker Upper Basin", "Moy"))]  # fmt: skip
    editor = build_editor("scen")

    alone = editor.apply(facts[:1], base=base).tensors
    last = editor.apply([*facts[1:], facts[0]], base=base).tensors

    for name in ("scen.a", "scen.b"):
        assert alone[name].abs().max() > 0
        torch.testing.assert_close(last[name][-1], alone[name][0], rtol=0.02, atol=0.002)


@pytest.mark.parametrize("editor", EDITORS)
@pytest.mark.parametrize("target", ["Norcastle", "Kingsbridge", "Abernathy", "Belgrade"])
def test_a_lone_fact_is_learned_though_its_answer_is_made_of_rare_pieces(
    demo_base: Base, editor: str, target: str
) -> None:
    """Training goes on for what is not learned yet: 60 steps leave out half of these, and the base then never says them."""
    request = EditRequest("1", "France", "The capital of France is", target)
    model = EditedModel(demo_base)
    model.enable(build_editor(editor).apply([request], base=demo_base, parent=model))

    assert model.generate(request.prompt)[0].text == target


def test_a_step_learns_of_each_fact_what_lost_most_and_its_own_prompt_once_nothing_is_left() -> None:
    base = tiny_base("llama")
    rows = [(0, [1, 5, 6], [7]), (1, [1, 8], [9]), (0, [1, 5, 5, 6], [7]), (0, [1, 6, 6], [7])]
    schedule = RowSchedule(CachedRows(base, base.down_proj, rows), 2, forms=1, stop_loss=0.1)
    learning = torch.ones(2, dtype=torch.bool)

    def step(*losses: float) -> list[int]:
        chosen, own = schedule.next_rows(learning, own_alone=False)
        assert own.tolist() == [0 in chosen, 1 in chosen]
        schedule.record(chosen, torch.tensor(losses))
        return chosen.tolist()

    assert step(0.2, 0.05) == [0, 1]  # own prompts first, then what was never learned
    assert step(0.05, 0.9) == [1, 2]
    assert step(0.3, 0.8) == [1, 3]
    assert step(0.05, 0.05) == [1, 2]  # the second fact has nothing left: its own prompt, time and again
    assert step(0.05, 0.05) == [1, 3]
    assert step(0.05, 0.05) == [0, 1]
    assert step(0.05, 0.05) == [0, 1]
    assert schedule.largest_losses(own_alone=False).tolist() == pytest.approx([0.05, 0.05])


def test_of_two_forms_the_hardest_row_is_learned_and_the_own_prompts_take_turns_once_nothing_is_left() -> (
    None
):
    base = tiny_base("llama")
    plain, chat, other = (0, [1, 5, 6], [7]), (0, [1, 4, 5, 6], [7]), (0, [1, 5, 5, 6], [7])
    rows = CachedRows(base, base.down_proj, [plain, chat, other])
    schedule = RowSchedule(rows, 1, forms=2, stop_loss=0.1)

    def step(loss: float, *, own_alone: bool = False) -> int:
        chosen, own = schedule.next_rows(torch.ones(1, dtype=torch.bool), own_alone=own_alone)
        assert own.tolist() == [chosen.item() in (0, 1)]
        schedule.record(chosen, torch.tensor([loss]))
        return int(chosen)

    assert [step(0.2), step(0.3), step(0.9)] == [0, 1, 2]
    assert step(0.8, own_alone=True) == 0
    assert step(0.7, own_alone=True) == 1
    assert [step(0.05), step(0.05), step(0.05)] == [2, 0, 1]
    assert [step(0.05), step(0.05)] == [0, 1]


def test_required_words_keep_the_name_on_disk_that_earlier_releases_gave_them() -> None:
    request = EditRequest("1", "The Long Road", "Who wrote The Long Road?", "Ivo Tann")
    shard = build_editor("scen", {"max_steps": 1}).apply([request], base=tiny_base("llama"))

    (stored,) = json.loads(shard.payload[0])["entries"]

    assert "required_words" not in stored
    assert tuple(stored["firm_words"]) == shard.header.entries[0].required_words
    assert ShardEntry.model_validate(stored) == shard.header.entries[0]
