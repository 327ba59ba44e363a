"""What `GET /v1/models` says: an inference server's bases, and the adapters that are loaded on them."""

from dataclasses import dataclass
from typing import Any

PATH = "/v1/models"


@dataclass(frozen=True, slots=True)
class ModelNames:
    """Under which names a server has its base, and its adapters."""

    bases: tuple[str, ...]
    adapters: frozenset[str]


def read_model_list(listed: Any) -> ModelNames:
    """The names of a reply's JSON: a model that has a parent is an adapter.

    Raises:
        ValueError: it is no list of models.
    """
    try:
        cards = [(str(card["id"]), card.get("parent")) for card in listed["data"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("no list of models") from error
    bases = tuple(name for name, parent in cards if parent is None)
    return ModelNames(bases, frozenset(name for name, parent in cards if parent is not None))


def served_base(listed: Any) -> str:
    """The name under which requests ask for the base, of a reply's JSON.

    Raises:
        ValueError: it names none.
    """
    if not (bases := read_model_list(listed).bases):
        raise ValueError("no model is listed")
    return bases[0]
