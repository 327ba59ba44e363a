"""The order in which files are handed out, so that no worker is left with a long one when the others are done."""

from collections import Counter

import pytest


@pytest.hookimpl(trylast=True)  # after the folders' own hooks, which mark what is slow
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, then those with many; within a file, and where files are alike, as they came."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    many = Counter(item.path for item in items)

    def turn(item: pytest.Item) -> tuple[bool, int]:
        return not slow[item.path], -many[item.path]

    turns = {
        path: place for place, path in enumerate(dict.fromkeys(one.path for one in sorted(items, key=turn)))
    }
    items.sort(key=lambda item: turns[item.path])
