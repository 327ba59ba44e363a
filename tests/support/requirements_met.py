"""What a test needs from outside the repository: where it is missing, the test fails in CI and is skipped elsewhere."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def unavailable(reason: str) -> NoReturn:
    """End the test: in CI (`CI` is set) a missing service or file is a fault, elsewhere a reason to skip."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def shared_data(name: str) -> Path:
    """A file of facts that the repository may not pass on; UPKEEP_TEST_DATA names the folder.

    Who runs CI without the data says so: UPKEEP_TEST_DATA = "" skips these tests there, too.
    """
    folder = os.environ.get("UPKEEP_TEST_DATA", str(DATA))
    if not folder:
        pytest.skip(f"{name}: UPKEEP_TEST_DATA is empty, so there is no shared data")
    file = Path(folder) / name
    if not file.exists():
        unavailable(f"{file} is not here; docs/datasets.md says how to obtain it")
    return file
