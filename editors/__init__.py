"""Editors: a model and a batch of edit requests in, experts out; attach, route, generate, save, load.

Usable as a library on its own, without the daemon:

    from editors import AdapterStore, EditedModel, EditRequest, build_editor, load_base

    base = load_base("path/or/hub-id")
    model = EditedModel(base)
    shard = build_editor("scen").apply([EditRequest("1", "France", "The capital of France is", "Lyon")], base=base)
    model.enable(shard)
    model.generate(["The capital of France is"])

Names load on first use: the planner and the consumer import the vocabulary from here and must not pay for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from editors.requests import EditRequest

if TYPE_CHECKING:
    from editors.base import Base, load_base
    from editors.model import Answer, EditedModel
    from editors.registry import Editor, build_editor
    from editors.scoring import score_answers
    from editors.shards import Shard
    from editors.store import AdapterStore

_HOMES = {
    "Base": "editors.base",
    "load_base": "editors.base",
    "Answer": "editors.model",
    "EditedModel": "editors.model",
    "Editor": "editors.registry",
    "build_editor": "editors.registry",
    "score_answers": "editors.scoring",
    "Shard": "editors.shards",
    "AdapterStore": "editors.store",
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
