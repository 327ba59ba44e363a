"""What the tests over the real vLLM share: their data, and questions asked greedily."""

import os
from pathlib import Path
from typing import Any

import httpx
from support.gateway.gateway_support import RunningGateway
from support.gateway.vllm_process import NAME, Vllm

DATA = Path(os.environ.get("UPKEEP_TEST_DATA", "../shared/data"))
EDITS = 50
PUBLISHED = ("subject", "relation", "prompt", "target_new")
MODEL = NAME
CHAT = "/v1/chat/completions"


def greedy(running: RunningGateway, question: str) -> httpx.Response:
    return running.chat(question, model=MODEL, temperature=0, max_tokens=24)


def text_of(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])


def chat_body(question: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": question}], "temperature": 0, **fields}


def running_requests(engine: Vllm) -> float:
    lines = httpx.get(f"{engine.url}/metrics", timeout=20).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running"))
