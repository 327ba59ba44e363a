"""vLLM as the gateway's engine: its adapter administration and its OpenAI API, over HTTP."""

from pathlib import PurePath
from typing import Any

import httpx

from daemon.gateway.engine import AdapterRefused, EngineAway, EngineRequest
from daemon.openai_api.model_list import PATH as MODELS
from daemon.openai_api.model_list import ModelNames, read_model_list


class VllmEngine:
    """One vLLM server, started with `--enable-lora` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`."""

    def __init__(
        self,
        url: str,
        *,
        max_connections: int,
        connect_seconds: float,
        read_seconds: float,
        api_key: str | None = None,
    ) -> None:
        """
        Args:
            url: where it listens, without a path.
            read_seconds: how long the engine may be silent, before its head and between two pieces of its answer.
            api_key: for the administration alone; clients send their own.
        """
        self._url = httpx.URL(url)
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        timeout = httpx.Timeout(read_seconds, connect=connect_seconds, pool=connect_seconds)
        # The gateway's own few questions do not queue behind the clients' streams.
        self._client = httpx.AsyncClient(
            timeout=timeout,
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
            trust_env=False,
        )
        self._admin = httpx.AsyncClient(timeout=timeout, trust_env=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        await self._admin.aclose()

    async def load(self, name: str, folder: PurePath) -> None:
        reply = await self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        # Another gateway was first: names are immutable, so what is loaded is the same.
        if reply.is_success or "already" in reply.text[:2000]:
            return
        if reply.status_code >= 500:
            raise EngineAway(f"the engine failed to load adapter {name} ({reply.status_code})")
        raise AdapterRefused(
            f"the engine does not load adapter {name} ({reply.status_code}): {_message(reply)}. Was it started with "
            "--enable-lora, VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and a --max-lora-rank of the experts' rank, and does "
            "it see gateway.engine_adapters?"
        )

    async def unload(self, name: str) -> None:
        reply = await self._post("/v1/unload_lora_adapter", {"lora_name": name})
        if reply.status_code >= 500:
            raise EngineAway(f"the engine failed to unload adapter {name} ({reply.status_code})")

    async def models(self) -> ModelNames:
        try:
            reply = await self._admin.get(self._url.join(MODELS), headers=self._headers)
            return read_model_list(reply.raise_for_status().json())
        except (httpx.HTTPError, ValueError) as error:
            raise EngineAway(f"the engine does not list its models: {type(error).__name__}") from error

    async def forward(self, request: EngineRequest) -> httpx.Response:
        outgoing = httpx.Request(
            request.method,
            self._url.copy_with(raw_path=request.target),
            # A request of its own, so that none of the client library's default headers is added.
            headers=[(b"Host", self._url.netloc), *request.headers],
            content=request.body,
        )
        try:
            return await self._client.send(outgoing, stream=True)
        except httpx.HTTPError as error:
            raise EngineAway(f"the engine does not answer: {type(error).__name__}") from error

    async def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        try:
            return await self._admin.post(self._url.join(path), json=body, headers=self._headers)
        except httpx.HTTPError as error:
            raise EngineAway(f"the engine does not answer: {type(error).__name__}") from error


def _message(reply: httpx.Response) -> str:
    try:
        found = reply.json()
        return str(found.get("error", found).get("message", ""))[:300]
    except (ValueError, AttributeError):
        return reply.text[:300]
