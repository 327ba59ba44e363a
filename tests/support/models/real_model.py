"""The real chat model that `make test-real` fetches, and the matcher that reads prompts for it."""

import os
from functools import cache

import pytest

from editors import load_base
from editors.base.base import Base
from editors.index import QuestionMatcher, load_matcher


def real_folder() -> str:
    """Where it lies; without one the test is skipped."""
    place = os.environ.get("UPKEEP_REAL_BASE")
    if not place:
        pytest.skip("no real base: run `make test-real`")
    return place


@cache
def real_base() -> Base:
    """It, as it is stored (float32)."""
    return load_base(real_folder(), device="cpu")


@cache
def real_matcher() -> QuestionMatcher:
    return load_matcher()
