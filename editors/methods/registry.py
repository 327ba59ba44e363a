"""Editors by the name that the ledger stores and their mode: to add one, register it here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from editors.methods.common.editor import Editor
from editors.methods.common.settings import MethodSettings
from editors.methods.lemoe.editor import LemoeEditor
from editors.methods.lemoe.settings import LemoeSettings
from editors.methods.paper_lemoe.editor import PaperLemoeEditor
from editors.methods.paper_lemoe.settings import PaperLemoeSettings
from editors.methods.paper_scen.editor import PaperScenEditor
from editors.methods.paper_scen.settings import PaperScenSettings
from editors.methods.scen.editor import ScenEditor
from editors.methods.scen.settings import ScenSettings
from edits.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Method:
    """One way to edit: an editor with its settings, chosen by `editors.<name>.mode`."""

    mode: str
    settings: type[MethodSettings]
    editor: type[Editor[Any]]

    @property
    def name(self) -> str:
        return self.editor.name


class MethodRegistry:
    """Methods by name and mode; a key that is there stays, one that is not is refused."""

    def __init__(self) -> None:
        self._methods: dict[tuple[str, str], Method] = {}

    def register(self, method: Method) -> None:
        """
        Raises:
            ValueError: another method has this name and mode.
        """
        key = (method.name, method.mode)
        if key in self._methods:
            raise ValueError(f"two editors are called {key[0]!r} in the mode {key[1]!r}")
        self._methods[key] = method

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name, _ in self._methods))

    def find(self, name: str, mode: object) -> Method:
        """
        Raises:
            BadRequest: no method has this name, or none of this name has this mode.
        """
        if name not in self.names:
            raise BadRequest(f"no editor is called {name!r}: use one of {', '.join(self.names)}")
        modes = {known: method for (of, known), method in self._methods.items() if of == name}
        if mode not in modes:
            raise BadRequest(f"editors.{name}.mode = {mode!r}: use one of {', '.join(modes)}")
        return modes[str(mode)]


def _methods() -> MethodRegistry:
    registry = MethodRegistry()
    registry.register(Method("default", ScenSettings, ScenEditor))
    registry.register(Method("paper", PaperScenSettings, PaperScenEditor))
    registry.register(Method("default", LemoeSettings, LemoeEditor))
    registry.register(Method("paper", PaperLemoeSettings, PaperLemoeEditor))
    return registry


METHODS = _methods()
EDITORS = METHODS.names


def build_editor(
    name: str, settings: Mapping[str, int | float | str | bool] | None = None
) -> Editor[MethodSettings]:
    """The editor of that name with these settings over its defaults.

    Args:
        settings: the setting `mode` ("default", "paper") chooses which others there are.

    Raises:
        BadRequest: an unknown editor, an unknown setting, or a value outside its range.
    """
    given = dict(settings or {})
    method = METHODS.find(name, given.pop("mode", "default"))
    try:
        return method.editor(method.settings.model_validate(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRequest(f"editors.{name}.{where}: {first['msg']}") from error
