"""A vLLM server of its own venv as a process: started as docs/gateway.md says, killed, started again."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx

from daemon.openai_api.model_list import PATH as MODELS
from daemon.openai_api.model_list import read_model_list

START_SECONDS = 400.0  # with the machine's cores shared
NAME = "smol"
# One more than adapters are ever loaded (`gateway.max_adapters`): on the CPU, vLLM lets the adapter of its last slot speak
# for the base where a batch holds both (vllm pull request 48421), so that slot must stay empty.
MAX_LORAS = 65


class Vllm:
    """The engine on a port of its own, on the CPU; `name` is what it calls the base."""

    def __init__(self, venv: Path, base: Path, folder: Path, *, name: str = NAME) -> None:
        """
        Args:
            folder: where its log goes.
        """
        self._command = [
            *(str(venv / "bin" / "vllm"), "serve", str(base), "--served-model-name", name),
            *(
                "--enable-lora",
                "--max-lora-rank",
                "8",
                "--max-loras",
                str(MAX_LORAS),
                "--max-cpu-loras",
                str(MAX_LORAS),
            ),
            *("--max-model-len", "512", "--dtype", "float32", "--enforce-eager", "--host", "127.0.0.1"),
        ]
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = int(probe.getsockname()[1])
        self._log = folder / "vllm.log"
        self.name = name
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it ended, or does not answer in time; with the end of its log.
        """
        environment = {
            **os.environ,
            "VLLM_TARGET_DEVICE": "cpu",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_NO_USAGE_STATS": "1",
        }
        environment.pop("PYTHONPATH", None)  # it has a venv of its own
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "--port", str(self._port)],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"vLLM did not start: {self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(1)

    def kill(self) -> None:
        """With all of its processes, as a machine that goes down does."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def adapters(self) -> set[str]:
        """Which are loaded."""
        return {*read_model_list(httpx.get(f"{self.url}{MODELS}", timeout=60).json()).adapters}

    def unload(self, name: str) -> None:
        """As somebody else may."""
        body = {"lora_name": name}
        httpx.post(f"{self.url}/v1/unload_lora_adapter", json=body, timeout=60).raise_for_status()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False
