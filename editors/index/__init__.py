"""The scope index by text: a part of its own that needs no base and loads no causal LM.

from editors.index import load_matcher
matcher = load_matcher()                     # the sentence encoder and the pair head
EditedModel(base, matcher=matcher)           # in process; or in front of another engine
"""

from typing import TYPE_CHECKING, Any

from editors.index.defaults import DEFAULT_ENCODER

if TYPE_CHECKING:
    from editors.index.matcher import QuestionMatcher, load_matcher

__all__ = ["DEFAULT_ENCODER", "QuestionMatcher", "load_matcher"]


def __getattr__(name: str) -> Any:
    if name not in ("QuestionMatcher", "load_matcher"):
        raise AttributeError(f"module 'editors.index' has no attribute {name!r}")
    from editors.index import matcher

    return getattr(matcher, name)
