"""The console's Ask page of the gateway: the engine is asked for the base, the gateway itself for the edited model."""

from collections.abc import Mapping
from typing import Any

import httpx

from daemon.console.sources.asking import Asked, post_json
from daemon.openai_api.model_list import PATH as MODELS
from daemon.openai_api.model_list import served_base
from daemon.openai_api.prompt_form import path_for, prompt_form
from daemon.openai_api.trace import PATH as TRACE
from daemon.process.addresses import http_address
from daemon.settings.settings import Settings
from edits.errors import PermanentError
from edits.prompts import Prompt

KEY_SETTING = "gateway.engine_api_key"


class GatewayAsker:
    """Asks over HTTP, as a client does: what it shows is what clients get."""

    earlier = False  # the engine has the newest generation's adapters alone

    def __init__(self, settings: Settings) -> None:
        gateway = settings.gateway
        self._engine = gateway.engine
        self._gateway = http_address(gateway.host, gateway.port)
        self._model_name = gateway.model_name
        self._max_new_tokens = settings.model.max_new_tokens
        key = gateway.engine_api_key
        self._key = None if key is None else key.get_secret_value()

    def ask(self, prompt: Prompt, *, generation: int | None) -> Asked:
        """See `daemon.console.sources.asking.Asker`."""
        if generation is not None:
            raise PermanentError("the gateway answers with the newest generation alone")
        form = prompt_form(prompt)
        body = {"model": self._model(), "max_tokens": self._max_new_tokens, "temperature": 0, **form}
        path = path_for(prompt)
        trace = post_json(self._gateway, TRACE, form, api_key=self._key, key_setting=KEY_SETTING)
        edited = post_json(self._gateway, path, body, api_key=self._key, key_setting=KEY_SETTING)
        base = post_json(self._engine, path, body, api_key=self._key, key_setting=KEY_SETTING)
        return Asked(trace["generation"], _text(base), _text(edited), trace["edit_id"], trace)

    def _model(self) -> str:
        """Under which name the engine has the base."""
        if self._model_name is None:
            try:
                headers = {} if self._key is None else {"Authorization": f"Bearer {self._key}"}
                listed = httpx.get(f"{self._gateway}{MODELS}", headers=headers, timeout=10.0).json()
                self._model_name = served_base(listed)
            except (httpx.HTTPError, ValueError) as error:
                raise PermanentError("the engine does not say its model: set gateway.model_name") from error
        return self._model_name


def _text(answer: Mapping[str, Any]) -> str:
    choice = answer["choices"][0]
    return str(choice["message"]["content"] if "message" in choice else choice["text"]).strip()
