"""Upkeep's editors: a model and a batch of edit requests in, experts out; attach, route, generate, save, load.

Usable as a library on its own, without the daemon:

    from editors import EditedModel, EditRequest, build_editor, load_base
    from editors.index import load_matcher

    base = load_base("path/or/hub-id")
    model = EditedModel(base, matcher=load_matcher())
    request = EditRequest("1", "France", "The capital of France is", "Lyon")
    model.enable(build_editor("scen").apply([request], base=base, parent=model))
    model.generate(["What is the capital of France?"])

Names load on first use: the planner and the consumer import the vocabulary from here and must not pay for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edits.requests import EditRequest

if TYPE_CHECKING:
    from editors.base.base import Base, load_base
    from editors.inference.edited_model import Answer, EditedModel
    from editors.inference.scoring import score_answers
    from editors.methods.common.editor import Editor
    from editors.methods.registry import build_editor
    from editors.store.adapter_store import AdapterStore
    from editors.store.shards import Shard

_HOMES = {
    "Base": "editors.base.base",
    "load_base": "editors.base.base",
    "Answer": "editors.inference.edited_model",
    "EditedModel": "editors.inference.edited_model",
    "Editor": "editors.methods.common.editor",
    "build_editor": "editors.methods.registry",
    "score_answers": "editors.inference.scoring",
    "Shard": "editors.store.shards",
    "AdapterStore": "editors.store.adapter_store",
}

__all__ = [
    "AdapterStore",
    "Answer",
    "Base",
    "EditRequest",
    "EditedModel",
    "Editor",
    "Shard",
    "build_editor",
    "load_base",
    "score_answers",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'editors' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
