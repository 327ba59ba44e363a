"""What to install where an import needs a package that only an extra brings."""

from collections.abc import Iterator
from contextlib import contextmanager

from edits.errors import PermanentError

DISTRIBUTION = "upkeep-llm"


class ExtraMissing(PermanentError):
    """An optional part was asked for whose packages are not installed; the message names the extra."""


@contextmanager
def extra(
    name: str, *, purpose: str, instead: str = "", error: type[PermanentError] = ExtraMissing
) -> Iterator[None]:
    """Imports inside the block belong to the extra `name`; what to do `instead` ends the message, if there is something.

    Raises:
        ExtraMissing: a package is not installed; or the `error` given.
    """
    try:
        yield
    except ModuleNotFoundError as absent:
        command = f"pip install '{DISTRIBUTION}[{name}]'"
        raise error(
            f"{purpose} needs the package {absent.name!r}: {command}{instead and f', or {instead}'}"
        ) from absent
