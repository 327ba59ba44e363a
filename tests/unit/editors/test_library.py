"""The editors in a program of one's own: one prompt, a model that is loaded already, and requests that are refused."""

from dataclasses import replace
from typing import Any

import pytest
from support.models.tiny_models import tiny_base

from editors import Base, EditedModel, EditRequest, build_editor
from edits.errors import BadRequest
from edits.prompts import Conversation, Message

GOOD: dict[str, Any] = {
    "edit_id": "1",
    "subject": "Norland",
    "prompt": "The capital of Norland is",
    "target_new": "Marrow",
}


def test_one_prompt_is_one_prompt_and_not_its_letters() -> None:
    base = tiny_base("llama")
    model = EditedModel(base)

    (answer,) = model.generate("The capital of Norland is", max_new_tokens=4)
    assert [answer] == model.generate(["The capital of Norland is"], max_new_tokens=4)
    assert len(model.route("The capital of Norland is")) == 1
    assert len(base.generate_outputs("The capital of Norland is", max_new_tokens=2)) == 1


def test_a_model_that_is_loaded_already_is_wrapped_without_a_hash_by_hand() -> None:
    known = tiny_base("llama")
    base = Base(known.model, known.tokenizer)

    assert base.hash == Base(known.model, known.tokenizer).hash
    assert base.hash not in (known.hash, Base(tiny_base("gpt2").model, known.tokenizer).hash)
    model = EditedModel(base)
    model.enable(
        build_editor("scen", {"max_steps": 100}).apply([EditRequest(**GOOD)], base=base, parent=model)
    )
    assert model.generate("The capital of Norland is")[0].text == "Marrow"


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({"subject": " "}, "subject: must not be blank"),
        ({"edit_id": ""}, "edit_id: must not be blank"),
        ({"edit_id": 1}, "edit_id: must be a text"),
        ({"prompt": None}, "prompt: must be a text"),
        ({"prompt": "x" * 2049}, "prompt: must have at most 2048 characters"),
        ({"target_new": "a\nb"}, "target_new: must stand on one line"),
        ({"target_new": "a\x00"}, "target_new: must not hold the character NUL"),
        ({"subject": "\ud800"}, "subject: must not hold half a surrogate pair"),
        ({"aliases": "Nor"}, "aliases: must be several texts, not one"),
        ({"rephrase_prompts": ["p"] * 33}, "rephrase_prompts: must be at most 32 texts"),
        ({"locality_prompts": [""]}, "locality_prompts: must not be blank"),
        ({"relation": "r" * 201}, "relation: must have at most 200 characters"),
        ({"prompt": "The capital is"}, "does not name its subject"),
        ({"subject": "Nordland"}, "does not name its subject"),
        ({"subject": "is"}, "'is' stands in .* everyday texts"),
        ({"aliases": ["the", "Nor"]}, "'the' stands in"),
        ({"subject": "song", "prompt": "The song is"}, "everyday word"),
        ({"subject": ".", "prompt": ". is"}, "punctuation"),
    ],
)
def test_a_request_is_refused_for_what_an_event_is_refused_for(change: dict[str, Any], reported: str) -> None:
    with pytest.raises(BadRequest, match=reported):
        EditRequest(**GOOD | change)


def test_what_an_earlier_release_accepted_is_no_longer_asked_how_it_names_its_subject() -> None:
    changed = GOOD | {"prompt": "The capital is"}
    request = EditRequest(**changed, accepted=True)
    assert replace(request, locality_prompts=("Why?",)).prompt == "The capital is"
    with pytest.raises(BadRequest, match="blank"):
        EditRequest(**changed | {"target_new": " "}, accepted=True)


def test_lists_of_a_request_may_be_any_sequence() -> None:
    assert EditRequest(**GOOD | {"aliases": ["Nor"]}).surface_forms == ("Norland", "Nor")


def test_a_conversation_is_one_prompt() -> None:
    asked = Conversation((Message("user", "What is the capital of Norland?"),))
    with pytest.raises(BadRequest, match="chat template"):
        EditedModel(tiny_base("llama")).generate(asked)
