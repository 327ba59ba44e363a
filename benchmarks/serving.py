"""What batching of clients brings the embedded server, on the demo's base, as one JSON object.

    OMP_NUM_THREADS=1 python benchmarks/serving.py [--model DIR] [--seconds 10]

throughput_64_over_1   requests/s of 64 clients over those of one
p99_ratio_64_over_8    the 99th percentile of their latency over that of 8
abandoned_cost         how much longer the next request takes behind an abandoned one, as a share of what that takes
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

REPOSITORY = Path(__file__).resolve().parents[1]
SHORT = {"prompt": "The", "max_tokens": 16, "temperature": 2, "seed": 1}
LONG = {"prompt": "The", "max_tokens": 400, "temperature": 2, "seed": 1, "n": 8}
ABANDONED = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=REPOSITORY / "demo" / "base")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    with served(options.model) as url:
        result = asyncio.run(measure(url, options.seconds))
    sys.stdout.write(json.dumps(result) + "\n")


async def measure(url: str, seconds: float) -> dict[str, float]:
    """All figures, in one run against one server."""
    await load(url, 8, seconds / 5)  # warm
    latencies = {clients: await load(url, clients, seconds) for clients in (1, 8, 64)}
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        cost = await abandoned_cost(client)
    p99 = {clients: statistics.quantiles(of, n=100)[98] for clients, of in latencies.items()}
    return {
        "throughput_64_over_1": round(len(latencies[64]) / len(latencies[1]), 2),
        "p99_ratio_64_over_8": round(p99[64] / p99[8], 2),
        "abandoned_cost": round(cost, 4),
        **{
            f"requests_per_second_{clients}": round(len(of) / seconds, 1) for clients, of in latencies.items()
        },
    }


async def load(url: str, clients: int, seconds: float) -> list[float]:
    """Latencies in seconds of the requests that so many clients finish in time, each asking one after the other."""
    end = time.monotonic() + seconds
    found: list[float] = []

    async def one() -> None:
        connection = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        while (started := time.monotonic()) < end:
            await post(*connection)
            if time.monotonic() < end:
                found.append(time.monotonic() - started)
        connection[1].close()

    await asyncio.gather(*(one() for _ in range(clients)))
    return found


async def post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request on an open connection, by hand: 64 clients of httpx take more of the machine than the server does."""
    body = json.dumps(SHORT).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    writer.write(head.encode() + b"\r\n\r\n" + body)
    status, *headers = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    if b" 200 " not in status + b" ":
        raise SystemExit(f"the server answered {status!r}")
    length = next(int(one.split(b":")[1]) for one in headers if one.startswith(b"content-length:"))
    await reader.readexactly(length)


async def abandoned_cost(client: httpx.AsyncClient) -> float:
    whole, alone, behind = [], [], []
    for _ in range(ABANDONED):
        whole.append(await timed(client, LONG))
        alone.append(await timed(client, SHORT))
        abandoned = asyncio.create_task(timed(client, LONG))
        await asyncio.sleep(0.05)  # it is being generated
        abandoned.cancel()
        await asyncio.gather(abandoned, return_exceptions=True)
        behind.append(await timed(client, SHORT))
    return (statistics.median(behind) - statistics.median(alone)) / statistics.median(whole)


async def timed(client: httpx.AsyncClient, body: dict[str, Any]) -> float:
    started = time.monotonic()
    (await client.post("/v1/completions", json=body)).raise_for_status()
    return time.monotonic() - started


@contextmanager
def served(model: Path) -> Iterator[str]:
    """The address of `upkeep serve` with this model, as a process of its own."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        probe.close()
        config = Path(folder) / "upkeep.toml"
        config.write_text(
            f'[model]\npath = "{model}"\n[index]\nencoder = ""\n[serve]\nport = {port}\n[log]\nlevel = "error"\n'
        )
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "daemon", "serve", "--config", str(config)]
        process = subprocess.Popen(command, cwd=folder, env=environment)  # noqa: S603 -- our own
        try:
            wait_ready(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def wait_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    main()
