"""What the Ask page needs of whoever has a model, and how a server's own API gives it from outside."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from daemon.openai_api.prompt_form import prompt_form
from edits.errors import BadRequest, PermanentError, TemporaryError
from edits.prompts import Prompt

KEY_SETTING = "console.server_key, or UPKEEP_CONSOLE__SERVER_KEY"
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 120.0
MAX_ANSWER_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of a question.

    Attributes:
        generation: the one that answered.
        base, edited: both answers.
        edit_id: the edit that fired; None: none did, and both answers are the base's.
        trace: how the prompt was routed, in the form of `POST /v1/trace`; None: nobody could say.
    """

    generation: int
    base: str
    edited: str
    edit_id: str | None
    trace: Mapping[str, Any] | None


class Asker(Protocol):
    """Whoever can ask a model."""

    @property
    def earlier(self) -> bool:
        """Whether earlier generations can be asked, too."""

    def ask(self, prompt: Prompt, *, generation: int | None) -> Asked:
        """Both answers to a prompt, by the newest generation or an earlier one.

        Raises:
            TemporaryError: the model is not loaded, away, or has too much to do.
            PermanentError: the prompt cannot be answered, or there is no such generation.
        """


class ServerAsker:
    """Asks a server at its address, by its own API."""

    earlier = False  # the API answers with the newest generation alone

    def __init__(self, url: str, *, api_key: str | None) -> None:
        self._url = url.rstrip("/")
        self._key = api_key

    def ask(self, prompt: Prompt, *, generation: int | None) -> Asked:
        """See `Asker.ask`."""
        if generation is not None:
            raise PermanentError(
                "the server's API answers with the newest generation alone: open its own console"
            )
        form = prompt_form(prompt)
        plain = {"prompts": [form["prompt"]]} if "prompt" in form else form
        edited = self._post("/v1/generate", plain)
        base = self._post("/v1/generate", {**plain, "base": True})
        return Asked(
            generation=edited["generation"],
            base=base["answers"][0]["text"],
            edited=edited["answers"][0]["text"],
            edit_id=edited["answers"][0]["edit_id"],
            trace=self._post("/v1/trace", form),
        )

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return post_json(self._url, path, body, api_key=self._key, key_setting=KEY_SETTING)


def post_json(url: str, path: str, body: Mapping[str, Any], *, api_key: str | None, key_setting: str) -> Any:
    """What a server answers to a request; its refusals are raised as what they are.

    Args:
        key_setting: where the API key stands in the settings.

    Raises:
        TemporaryError: nobody answers there, or not now.
        PermanentError: what answers is no such server, or wants a key.
        BadRequest: it refuses the request.
    """
    timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    try:
        with httpx.Client(timeout=timeout, headers=headers, trust_env=False) as client:
            answer = client.post(f"{url}{path}", json=dict(body))
            content = json.loads(answer.content[:MAX_ANSWER_BYTES])
    except httpx.HTTPError as error:
        raise TemporaryError(f"no server answers at {url}: {type(error).__name__}") from error
    except ValueError as error:
        raise PermanentError(f"what answers at {url} is no server that Upkeep knows") from error
    if answer.status_code == 200:
        return content
    payload = content.get("error") if isinstance(content, dict) else None
    message = payload.get("message") if isinstance(payload, dict) else None
    refusal = f"the server at {url} refuses: {message or answer.status_code}"
    if answer.status_code >= 500:
        raise TemporaryError(refusal)
    if answer.status_code in (401, 403):
        raise PermanentError(f"{refusal}: set {key_setting}")
    raise BadRequest(refusal)
