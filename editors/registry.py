"""Editors by the name that the ledger stores."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import ValidationError

from editors.base import Base
from editors.errors import BadRequest
from editors.lemoe import LemoeEditor, LemoeSettings
from editors.requests import EditRequest
from editors.scen import ScenEditor, ScenSettings
from editors.shards import Shard
from editors.training import Progress


class Editor(Protocol):
    """Edit requests in, one shard out; the base is never changed."""

    name: str

    def apply(
        self, requests: Sequence[EditRequest], *, base: Base, progress: Progress | None = None
    ) -> Shard: ...


EDITORS = ("scen", "lemoe")


def build_editor(name: str, settings: Mapping[str, int | float | str | bool] | None = None) -> Editor:
    """The editor of that name with these settings over its defaults.

    Raises:
        BadRequest: an unknown editor, an unknown setting, or a value outside its range.
    """
    given = dict(settings or {})
    try:
        if name == "scen":
            return ScenEditor(ScenSettings.model_validate(given))
        if name == "lemoe":
            return LemoeEditor(LemoeSettings.model_validate(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRequest(f"editors.{name}.{where}: {first['msg']}") from error
    raise BadRequest(f"no editor is called {name!r}: use one of {', '.join(EDITORS)}")
