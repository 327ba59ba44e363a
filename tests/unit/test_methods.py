"""The methods' registry, and what their settings and shards keep from release to release."""

import json

import pytest
from tiny_models import tiny_base

from editors import EditRequest, build_editor
from editors.methods.registry import EDITORS, METHODS, Method, MethodRegistry
from editors.methods.scen.editor import ScenEditor
from editors.methods.scen.settings import ScenSettings
from editors.store.header import ShardEntry
from edits.errors import BadRequest


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
    shared = ("openings", "rephrases", "chat_rows", "chat_share", "chat_answer", "max_answer_tokens")
    scen, lemoe = (build_editor(name).settings.model_dump() for name in ("scen", "lemoe"))

    assert [scen[key] for key in shared] == [0, 2, 1, 0.5, "value", 16]
    assert [lemoe[key] for key in shared] == [0, 1, 1, 0.6, "value", 16]
    assert scen["target_false_fire"] == lemoe["target_false_fire"] == 0.01


def test_required_words_keep_the_name_on_disk_that_earlier_releases_gave_them() -> None:
    request = EditRequest("1", "The Long Road", "Who wrote The Long Road?", "Ivo Tann")
    shard = build_editor("scen", {"max_steps": 1}).apply([request], base=tiny_base("llama"))

    (stored,) = json.loads(shard.payload[0])["entries"]

    assert "required_words" not in stored
    assert tuple(stored["firm_words"]) == shard.header.entries[0].required_words
    assert ShardEntry.model_validate(stored) == shard.header.entries[0]
