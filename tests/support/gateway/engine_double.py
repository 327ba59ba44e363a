"""A small HTTP server with vLLM's adapter administration, to the letter, whose models answer what they were sent.

404 for a model that it does not have, 400 for an adapter that it has already, 404 for a folder without an adapter.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from support.waiting import eventually, free_port

from edits.prompts import Conversation, Message, Prompt

BASE = "base"
Say: TypeAlias = Callable[[str, Prompt, int], str]  # model, prompt, most tokens -> answer


class EngineDouble:
    """State and routes. `received` holds every body of a question; `streaming` counts streams that are being sent."""

    def __init__(self) -> None:
        self.adapters: set[str] = set()
        self.loads: list[str] = []
        self.received: list[bytes] = []
        self.streaming = 0
        self.padding = ""  # of each event of a stream
        self.pause = 0.01  # seconds between two of them
        self.sent = 0  # bytes of all streams that were taken from us
        self.before_load: Callable[[Path], None] | None = None  # what happens to a folder before it is read
        self.say: Say | None = None  # what its models answer, where a test asks for more than their names
        self.breaks_off = False  # streams end after their first event, without an end
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.app = Starlette(
            routes=[
                Route("/v1/load_lora_adapter", self._load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self._unload, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._answer, methods=["POST"]),
                Route("/v1/completions", self._answer, methods=["POST"]),
                Route("/other/{path:path}", self._other, methods=["GET", "POST"]),
            ]
        )

    async def _load(self, request: Request) -> Response:
        body = await request.json()
        name, folder = body["lora_name"], Path(body["lora_path"])
        await asyncio.sleep(0.05)  # long enough for others to ask for it meanwhile
        if name in self.adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        if self.before_load is not None:
            self.before_load(folder)
        if (
            not (folder / "adapter_config.json").is_file()
            or not (folder / "adapter_model.safetensors").is_file()
        ):
            return _error(404, f"Loading lora {name} failed: No adapter found for {folder}")
        self.adapters.add(name)
        self.loads.append(name)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        if name not in self.adapters:
            return _error(404, f"The lora adapter '{name}' cannot be found.")
        self.adapters.remove(name)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def _models(self, _: Request) -> Response:
        cards = [{"id": BASE, "object": "model", "parent": None}]
        cards += [{"id": name, "object": "model", "parent": BASE} for name in sorted(self.adapters)]
        return JSONResponse({"object": "list", "data": cards})

    async def _answer(self, request: Request) -> Response:
        raw = await request.body()
        body = json.loads(raw)
        if body.get("model", BASE) not in {BASE, *self.adapters}:
            return _error(404, f"The model `{body['model']}` does not exist.")
        self.received.append(raw)
        if body.get("stream"):
            return StreamingResponse(self._events(body), media_type="text/event-stream")
        if self.say is not None:
            return self._reply_text(body, self.say)
        prompts = body["prompt"] if isinstance(body.get("prompt"), list) else [None]
        choices = [{"index": n, "text": body.get("model", BASE)} for n in range(len(prompts))]
        return JSONResponse(
            {"id": "x", "model": body.get("model"), "choices": choices, "usage": {"total_tokens": 2}}
        )

    def _reply_text(self, body: dict[str, Any], say: "Say") -> Response:
        model, limit = body.get("model", BASE), int(body["max_tokens"])
        if "messages" in body:
            turns = tuple(Message(turn["role"], turn["content"]) for turn in body["messages"])
            text = say(model, Conversation(turns), limit)
            choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}}
        else:
            choice = {"index": 0, "text": say(model, body["prompt"], limit)}
        return JSONResponse({"id": "x", "model": model, "choices": [choice]})

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        self.streaming += 1
        try:
            for number in range(int(body.get("max_tokens", 3))):
                event = {"model": body.get("model"), "n": number}
                event |= {"padding": self.padding} if self.padding else {}
                line = f"data: {json.dumps(event)}\n\n"
                yield line
                self.sent += len(line)
                if self.breaks_off:
                    raise ConnectionAbortedError("the double breaks off")
                await asyncio.sleep(self.pause)
            yield "data: [DONE]\n\n"
        finally:
            self.streaming -= 1

    async def _other(self, request: Request) -> Response:
        seen = {"path": request.scope["raw_path"].decode(), "query": request.url.query}
        return JSONResponse({**seen, "authorization": request.headers.get("authorization")})


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "x", "code": status}}, status)


@contextmanager
def engine_double() -> Iterator[EngineDouble]:
    """While the block runs, the double answers on its port."""
    double = EngineDouble()
    config = uvicorn.Config(
        double.app,
        host="127.0.0.1",
        port=double.port,
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started)
        yield double
    finally:
        server.should_exit = True
        thread.join(30)


def models_of(reply: httpx.Response) -> list[str]:
    """Which model answered each choice."""
    return [choice["text"] for choice in reply.json()["choices"]]
