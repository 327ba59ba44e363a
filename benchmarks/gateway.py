"""What the gateway costs in front of an engine, as one JSON object: the same requests through it and to the engine itself.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/gateway.py --model DIR --facts halluedit.jsonl --probes far.jsonl \
        --engine VENV

Clients take turns: in each round all requests go through the gateway and all go to the engine, one after the other, in
changing order; half of them ask an edit in words that it was not trained on, half of them nothing that was edited, half are
streamed. The engine is asked for the very adapter that the gateway chooses, with as many tokens, so both compute the same.
A figure is the median over the rounds of gateway over engine.

throughput_ratio       requests/s                                                               bar .95
latency_p50_ratio      median seconds from a request to the end of its answer                   bar 1.05
first_token_ratio      median seconds from a streamed request to the first piece of its answer  bar 1.10
same_answers           share of requests that both answered with the same words of the same model
gateway_cpu_ms         processor time of the gateway's process per request, in milliseconds
routing_ms             of which until its adapter was known, as its own metric tells, waiting included
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from gateway_stage import GatewayProcess, GatewayStage, read_facts

from daemon.openai_api.model_list import PATH as MODELS
from daemon.openai_api.model_list import served_base
from daemon.process.log import configure_logging
from daemon.settings.tables import LogSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.gateway.vllm_process import Vllm

CHAT = "/v1/chat/completions"
ROUTING = "upkeep_gateway_routing_seconds_sum"


@dataclass(frozen=True)
class TimedRequest:
    """One request's text, and the model that answers it at the engine: an adapter, or the base."""

    text: str
    model: str


@dataclass(frozen=True)
class TimedAnswer:
    """One answer, with the seconds until its first piece and until its end."""

    model: str
    text: str
    first: float
    whole: float


@dataclass(frozen=True)
class Leg:
    """What all clients together got of one side."""

    answers: Sequence[TimedAnswer]
    streamed: Sequence[bool]
    seconds: float

    @property
    def throughput(self) -> float:
        """Requests a second."""
        return len(self.answers) / self.seconds

    @property
    def latency(self) -> float:
        """The median."""
        return statistics.median(answer.whole for answer in self.answers)

    @property
    def first_token(self) -> float:
        """The median of the streamed ones."""
        return statistics.median(a.first for a, yes in zip(self.answers, self.streamed, strict=True) if yes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="the base's folder")
    parser.add_argument("--facts", type=Path, required=True, help="JSONL with rephrase_prompts")
    parser.add_argument("--probes", type=Path, required=True, help="JSONL of prompts that ask no edit")
    engine = parser.add_mutually_exclusive_group(required=True)
    engine.add_argument("--engine", type=Path, metavar="VENV", help="of vLLM, which is started on the CPU")
    engine.add_argument("--engine-url", help="of an engine that runs, and serves --model")
    parser.add_argument(
        "--state",
        type=Path,
        help="folder with ledger.db and store, whose live edits are asked; filled where it has none",
    )
    parser.add_argument("--edits", type=int, default=8)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=96, help="to each side in one round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=24, help="of each answer")
    options = parser.parse_args()
    configure_logging(LogSettings(level="warning"), "benchmark")  # to stderr: stdout has the figures alone
    with _folder(options.state) as folder, _engine(options, folder) as (url, name):
        stage = GatewayStage(folder, options.model.resolve(), url)
        facts = read_facts(options.facts, options.edits)
        stage.publish(facts)
        with stage.gateway() as gateway:
            result = asyncio.run(measure(gateway, url, facts, options))
    sys.stdout.write(json.dumps({"engine": name, **result}) + "\n")


async def measure(
    gateway: GatewayProcess, engine: str, facts: Sequence[Mapping[str, Any]], options: argparse.Namespace
) -> dict[str, Any]:
    """All figures of one gateway and one engine."""
    base = _base_name(engine)
    questions = await _questions(gateway.url, base, facts, options)
    chosen = random.Random(0)
    rounds: list[tuple[Leg, Leg]] = []
    used: list[float] = []
    routed: list[float] = []
    await leg(engine, None, questions, [True] * len(questions), options)  # warm
    for number in range(options.rounds):
        asked = [questions[place % len(questions)] for place in range(options.requests)]
        chosen.shuffle(asked)
        streamed = [place % 2 == 0 for place in range(options.requests)]
        found: dict[bool, Leg] = {}
        for direct in (False, True) if number % 2 == 0 else (True, False):
            before = gateway.total(ROUTING), gateway.processor_seconds()
            url, model = (engine, None) if direct else (gateway.url, base)
            found[direct] = await leg(url, model, asked, streamed, options)
            if not direct:
                used.append(gateway.processor_seconds() - before[1])
                routed.append(gateway.total(ROUTING) - before[0])
        rounds.append((found[False], found[True]))
        _say(number, rounds[-1])
    return {
        **_ratios(rounds),
        "gateway_cpu_ms": _ms(used, options.requests),
        "routing_ms": _ms(routed, options.requests),
        **{name: getattr(options, name) for name in ("clients", "requests", "rounds", "tokens", "edits")},
        "edited_share": round(sum(q.model.startswith("upkeep-") for q in questions) / len(questions), 3),
        "load_average": [round(one, 1) for one in os.getloadavg()],
    }


async def leg(
    url: str,
    model: str | None,
    asked: Sequence[TimedRequest],
    streamed: Sequence[bool],
    options: argparse.Namespace,
) -> Leg:
    """All requests by all clients, each of which asks the next one when it has its answer.

    Args:
        model: what every request is sent for; None: each for the one that answers it, as no gateway chooses it.
    """
    waiting = iter(enumerate(zip(asked, streamed, strict=True)))
    answers: dict[int, TimedAnswer] = {}

    async def client() -> None:
        async with Connection(url) as connection:
            for place, (question, stream) in waiting:
                named = model or question.model
                answers[place] = await connection.ask(
                    _body(named, question.text, options.tokens, stream=stream)
                )

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(options.clients)))
    seconds = time.perf_counter() - begun
    return Leg([answers[place] for place in range(len(asked))], streamed, seconds)


class Connection:
    """One client's connection, by hand: 16 clients of httpx take more of the machine than the gateway does."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "127.0.0.1", parts.port or 80

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, body: Mapping[str, Any]) -> TimedAnswer:
        """The answer to a chat request.

        Raises:
            SystemExit: it is not 200.
        """
        raw = json.dumps(body).encode()
        head = (
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}"
        )
        begun = time.perf_counter()
        self._writer.write(head.encode() + b"\r\n\r\n" + raw)
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines if line)
        pieces, first = [], 0.0
        async for piece in self._pieces(headers):
            first = first or time.perf_counter() - begun
            pieces.append(piece)
        whole, content = time.perf_counter() - begun, b"".join(pieces)
        if b" 200 " not in status + b" ":
            raise SystemExit(f"{self._address} answered {status!r}: {content[:300]!r}")
        model, text = _read_events(content) if body["stream"] else _read_whole(content)
        return TimedAnswer(model, text, first, whole)

    async def _pieces(self, headers: Mapping[bytes, bytes]) -> AsyncIterator[bytes]:
        if b"content-length" in headers:
            yield await self._reader.readexactly(int(headers[b"content-length"]))
            return
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)


async def _questions(
    url: str, base: str, facts: Sequence[Mapping[str, Any]], options: argparse.Namespace
) -> list[TimedRequest]:
    """As many that ask an edit as others, each with the model that the gateway has answer it."""
    with options.probes.open(encoding="utf-8") as lines:
        others = [json.loads(line)["prompt"] for line, _ in zip(lines, facts, strict=False)]
    asked = [TimedRequest(text, base) for text in [fact["rephrase_prompts"][0] for fact in facts] + others]
    answered = await leg(url, base, asked, [False] * len(asked), options)
    found = [
        TimedRequest(one.text, answer.model) for one, answer in zip(asked, answered.answers, strict=True)
    ]
    fired = [question for question in found if question.model.startswith("upkeep-")]
    unedited = [question for question in found if not question.model.startswith("upkeep-")]
    count = min(len(fired), len(unedited))
    if not count:
        raise SystemExit("no question fires an edit, or all do: nothing could be compared")
    return fired[:count] + unedited[:count]


def _body(model: str, text: str, tokens: int, *, stream: bool) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": tokens,
        "ignore_eos": True,  # both sides compute as much
        "stream": stream,
    }


def _read_whole(content: bytes) -> tuple[str, str]:
    answer = json.loads(content)
    choice = answer["choices"][0]
    return str(answer["model"]), str(choice.get("message", choice).get("content", ""))


def _read_events(content: bytes) -> tuple[str, str]:
    lines = [line[6:] for line in content.split(b"\n") if line.startswith(b"data: ")]
    if not lines or lines.pop() != b"[DONE]":
        raise SystemExit(f"a stream broke off: {content[-200:]!r}")
    events = [json.loads(line) for line in lines]
    deltas = [choice["delta"].get("content") or "" for event in events for choice in event.get("choices", [])]
    models = {str(event["model"]) for event in events}
    if len(models) != 1:
        raise SystemExit(f"one answer is of {len(models)} models: {sorted(models)}")
    return models.pop(), "".join(deltas)


def _ratios(rounds: Sequence[tuple[Leg, Leg]]) -> dict[str, float]:
    names = {"throughput": "throughput", "latency_p50": "latency", "first_token": "first_token"}
    found: dict[str, float] = {}
    for name, of in names.items():
        ratios = [getattr(gateway, of) / getattr(engine, of) for gateway, engine in rounds]
        found[f"{name}_ratio"] = round(statistics.median(ratios), 3)
        found |= {f"{name}_ratio_least": round(min(ratios), 3), f"{name}_ratio_most": round(max(ratios), 3)}
    pairs = [pair for mine, theirs in rounds for pair in zip(mine.answers, theirs.answers, strict=True)]
    same = [(mine.model, mine.text) == (theirs.model, theirs.text) for mine, theirs in pairs]
    return {
        **found,
        "same_answers": round(sum(same) / len(same), 4),
        "same_models": round(sum(mine.model == theirs.model for mine, theirs in pairs) / len(pairs), 4),
        "engine_requests_per_second": round(statistics.median(e.throughput for _, e in rounds), 2),
        "engine_latency_p50_seconds": round(statistics.median(e.latency for _, e in rounds), 4),
        "engine_first_token_seconds": round(statistics.median(e.first_token for _, e in rounds), 4),
    }


def _ms(seconds: Sequence[float], requests: int) -> float:
    return round(1_000 * statistics.median(seconds) / requests, 2)


def _say(number: int, pair: tuple[Leg, Leg]) -> None:
    found = _ratios([pair])
    figures = ("throughput_ratio", "latency_p50_ratio", "first_token_ratio", "engine_requests_per_second")
    sys.stderr.write(f"round {number}: {json.dumps({name: found[name] for name in figures})}\n")


def _folder(state: Path | None) -> Any:
    if state is None:
        return _temporary()
    state.mkdir(parents=True, exist_ok=True)
    return nullcontext(state.resolve())


@contextmanager
def _temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@contextmanager
def _engine(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str]]:
    """The address of the engine, and what it is."""
    if options.engine_url is not None:
        yield options.engine_url.rstrip("/"), _version_of(options.engine_url.rstrip("/"))
        return
    running = Vllm(options.engine, options.model, folder)
    running.start()
    try:
        yield running.url, _version_of(running.url)
    finally:
        running.kill()


def _base_name(url: str) -> str:
    return served_base(httpx.get(f"{url}{MODELS}", timeout=60).raise_for_status().json())


def _version_of(url: str) -> str:
    """What an engine says that it is: vLLM has its version at /version."""
    reply = httpx.get(f"{url}/version", timeout=60)
    return f"vLLM {reply.json()['version']}" if reply.status_code == 200 else "not vLLM"


if __name__ == "__main__":
    main()
