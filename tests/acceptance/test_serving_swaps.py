"""Many clients, streamed and not, while generations are published and rolled back: every answer is of one generation.

UPKEEP_SERVING_REQUESTS says how many requests; `UPKEEP_SERVING_REQUESTS=5000 pytest tests/acceptance/test_serving_swaps.py`
is the size at which the bars are stated.
"""

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
from support.serving_support import EmbeddedServer, Fact, embedded_server
from support.waiting import eventually

from editors.inference.continuous import GeneratedSequence

REQUESTS = int(os.environ.get("UPKEEP_SERVING_REQUESTS", "400"))
SWAPS = 20
CLIENTS = 6
PROMPT = "The capital of France is"
ANSWERS = ("Lyon", "Marseille", "Toulouse", "Bordeaux")
MAX_GROWTH = 0.05
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def test_requests_over_swaps_and_rollbacks_have_no_error_and_each_its_generations_answer(
    tmp_path: Path,
) -> None:
    with embedded_server(tmp_path) as server:
        reported: list[tuple[int, str]] = []
        swapped = threading.Event()

        def ask(number: int) -> None:
            with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:
                while not swapped.is_set() or len(reported) < REQUESTS:
                    reported.append(_asked(client, streamed=number % 2 == 0))

        with ThreadPoolExecutor(CLIENTS) as clients:
            asking = [clients.submit(ask, number) for number in range(CLIENTS)]
            expected = _swap(server)
            swapped.set()
            for one in asking:
                one.result()

        assert len(reported) >= REQUESTS
        assert {(n, text) for n, text in reported if text != expected.get(n)} == set()
        assert len({n for n, _ in reported}) > SWAPS / 2


def test_abandoned_requests_leave_no_memory_connection_or_row_behind(tmp_path: Path) -> None:
    with embedded_server(tmp_path, [Fact("France", PROMPT, "Lyon")]) as server:
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda number: _ask_or_leave(server, number), range(REQUESTS // 2)))
            before = _resident_bytes()
            list(clients.map(lambda number: _ask_or_leave(server, number), range(REQUESTS)))
        eventually(lambda: _alive(GeneratedSequence) == 0)
        eventually(lambda: _established(server.settings.serve.port) == 0)
        assert _resident_bytes() < before * (1 + MAX_GROWTH)


def _swap(server: EmbeddedServer) -> dict[int, str]:
    """Publish and roll back while clients ask; what each generation must answer."""
    (of_base,) = server.base.generate([PROMPT], max_new_tokens=16)
    expected = {0: of_base}
    for number in range(SWAPS):
        if number % 4 == 3:
            earlier = sorted(expected)[-2]
            latest = server.rollback_to(earlier)
            expected[latest] = expected[earlier]
        else:
            answer = ANSWERS[number % len(ANSWERS)]
            latest = server.publish(Fact("France", PROMPT, answer), wait=False)
            expected[latest] = answer
        server.wait_generation(latest)
    return expected


def _asked(client: openai.OpenAI, *, streamed: bool) -> tuple[int, str]:
    """The generation that an answer is said to be of, and its text."""
    if not streamed:
        reply = client.completions.create(model="tiny", prompt=PROMPT, stop="\n")
        return _generation({reply.system_fingerprint}), reply.choices[0].text.strip()
    chunks = list(client.completions.create(model="tiny", prompt=PROMPT, stop="\n", stream=True))
    text = "".join(chunk.choices[0].text for chunk in chunks)
    return _generation({chunk.system_fingerprint for chunk in chunks}), text.strip()


def _generation(fingerprints: set[str | None]) -> int:
    (fingerprint,) = fingerprints
    assert fingerprint is not None
    return int(fingerprint.rsplit("-", 1)[1])


def _ask_or_leave(server: EmbeddedServer, number: int) -> None:
    if number % 10:
        reply = server.post("/v1/completions", {"prompt": PROMPT})
        assert reply.json()["choices"][0]["text"] == " Lyon"
        return
    body = {"prompt": "The", "max_tokens": 64, "temperature": 2, "n": 4, "stream": number % 20 == 0}
    try:
        httpx.post(f"{server.url}/v1/completions", json=body, timeout=httpx.Timeout(20, read=0.01))
    except httpx.ReadTimeout:
        return


def _alive(kind: type) -> int:
    gc.collect()
    return sum(type(one) is kind for one in gc.get_objects())


def _established(port: int) -> int:
    """Connections to a port of this machine that are open."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return sum(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES
