"""Editors by the name that the ledger stores."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from editors.base.base import Base
from editors.methods.lemoe import LemoeEditor, LemoeSettings
from editors.methods.paper_lemoe import PaperLemoeEditor, PaperLemoeSettings
from editors.methods.paper_scen import PaperScenEditor, PaperScenSettings
from editors.methods.scen import ScenEditor, ScenSettings
from editors.methods.training import Progress
from editors.routing.parent import ParentModel
from editors.store.shards import Shard
from edits.errors import BadRequest
from edits.requests import EditRequest


class Editor(Protocol):
    """Edit requests in, one shard out; the base is never changed."""

    name: str

    @property
    def settings(self) -> BaseModel:
        """The settings that it works with, defaults included."""

    def apply(
        self,
        requests: Sequence[EditRequest],
        *,
        base: Base,
        parent: ParentModel | None = None,
        progress: Progress | None = None,
    ) -> Shard:
        """Train experts for `requests`.

        Args:
            parent: the model that the edits will join; the papers' routers learn to tell its live edits from the new ones.
        """


EDITORS = ("scen", "lemoe")
MODES = ("default", "paper")
_MAKERS: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], Editor]] = {
    ("scen", "default"): lambda given: ScenEditor(ScenSettings.model_validate(given)),
    ("scen", "paper"): lambda given: PaperScenEditor(PaperScenSettings.model_validate(given)),
    ("lemoe", "default"): lambda given: LemoeEditor(LemoeSettings.model_validate(given)),
    ("lemoe", "paper"): lambda given: PaperLemoeEditor(PaperLemoeSettings.model_validate(given)),
}


def build_editor(name: str, settings: Mapping[str, int | float | str | bool] | None = None) -> Editor:
    """The editor of that name with these settings over its defaults.

    Args:
        settings: the setting `mode` ("default", "paper") chooses which others there are.

    Raises:
        BadRequest: an unknown editor, an unknown setting, or a value outside its range.
    """
    given = dict(settings or {})
    mode = given.pop("mode", "default")
    if name not in EDITORS:
        raise BadRequest(f"no editor is called {name!r}: use one of {', '.join(EDITORS)}")
    if mode not in MODES:
        raise BadRequest(f"editors.{name}.mode = {mode!r}: use one of {', '.join(MODES)}")
    try:
        return _MAKERS[name, str(mode)](given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRequest(f"editors.{name}.{where}: {first['msg']}") from error
