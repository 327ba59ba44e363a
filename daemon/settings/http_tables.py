"""The tables of the settings file that say who is answered over HTTP: the embedded server, and the gateway."""

import hashlib
import ipaddress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from daemon.settings.tables import Port, Ratio, SettingsTable

KeyHash = Annotated[str, Field(pattern=r"^((read|operate):)?[0-9a-fA-F]{64}$")]
Origin = Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")]
MIN_KEY_CHARS = 16
ServingEngine = Literal["embedded", "vllm"]


class ConsoleRole(StrEnum):
    """What a key may do in the console: see, or also act."""

    READ = "read"
    OPERATE = "operate"


class ServeSettings(SettingsTable):
    """The HTTP interface."""

    engine: ServingEngine = Field(
        "embedded",
        description='what answers users: "embedded" (upkeep serve) or "vllm" (behind upkeep gateway, LoRA adapters alone)',
    )
    host: str = Field(
        "127.0.0.1", min_length=1, description="0.0.0.0 opens it to other machines: set api_keys"
    )
    port: Port = Field(8080, description="TCP port")
    max_batch: int = Field(32, ge=1, le=1_024, description="most prompts of one request")
    max_prompt_chars: int = Field(8_192, ge=1, le=1 << 20, description="longest prompt, in characters")
    model_name: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="under which OpenAI clients ask; unset: model.path, of a folder its name",
    )
    max_completion_tokens: int = Field(
        1_024, ge=1, le=1 << 20, description="longest answer to OpenAI clients, in tokens"
    )
    default_temperature: float = Field(
        0.0,
        ge=0.0,
        le=2.0,
        description="of OpenAI requests that name none; OpenAI's own is 1, 0 is what was verified",
    )
    max_rows: int = Field(64, ge=1, le=1_024, description="answers generated together")
    max_waiting: int = Field(64, ge=1, le=65_536, description="requests that wait; further ones get 503")
    api_keys: tuple[KeyHash, ...] = Field(
        (),
        max_length=1_024,
        description="SHA-256 of each API key in hex (printf %s KEY | sha256sum); "
        '"read:HASH" also opens the console, "operate:HASH" may act there',
    )
    api_key: SecretStr | None = Field(
        None, description="keys, commas between; better in the environment: UPKEEP_SERVE__API_KEY"
    )
    insecure: bool = Field(
        False, validate_default=True, description="listen beyond loopback without API keys"
    )
    metrics_port: Port | None = Field(
        None, description="health and /metrics here, on metrics.host; unset: on port"
    )
    cors_origins: tuple[Origin, ...] = Field(
        (), max_length=1_024, description='pages that browsers may ask from: "https://chat.example.org"'
    )

    @field_validator("api_key")
    @classmethod
    def _are_long_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(len(key) < MIN_KEY_CHARS for _, key in _keys(value)):
            raise ValueError(f"a key needs {MIN_KEY_CHARS} characters: openssl rand -hex 32 makes one")
        return value

    @field_validator("insecure")
    @classmethod
    def _is_guarded(cls, value: bool, info: ValidationInfo) -> bool:
        keys = info.data.get("api_keys") or info.data.get("api_key")
        if not (value or keys or is_loopback(info.data.get("host", ""))):
            raise ValueError(
                "must be true to listen beyond loopback without keys: set serve.api_keys, or UPKEEP_SERVE__API_KEY"
            )
        return value

    @property
    def key_hashes(self) -> tuple[str, ...]:
        """SHA-256 of every API key, in hex."""
        return tuple(hashed for hashed, _ in self._hashes_and_roles())

    @property
    def key_roles(self) -> dict[str, ConsoleRole]:
        """SHA-256 of every key that opens the console, in small hex, and what it may do there."""
        return {hashed.lower(): role for hashed, role in self._hashes_and_roles() if role is not None}

    def _hashes_and_roles(self) -> list[tuple[str, ConsoleRole | None]]:
        hashed = [(key, role) for role, key in map(_role_and_key, self.api_keys)]
        plain = [] if self.api_key is None else _keys(self.api_key)
        return [*hashed, *((hashlib.sha256(key.encode()).hexdigest(), role) for role, key in plain)]


class GatewaySettings(SettingsTable):
    """The gateway in front of an inference server."""

    host: str = Field("127.0.0.1", min_length=1, description="0.0.0.0 opens it to other machines")
    port: Port = Field(8090, description="TCP port")
    metrics_port: Port = Field(
        9466,
        description="health and /metrics, on metrics.host: of port, all but /console belong to the engine",
    )
    engine: str = Field(
        "http://127.0.0.1:8000",
        max_length=1024,
        pattern=r"^https?://[^/?#@]+$",
        description="where vLLM listens, without a path",
    )
    engine_api_key: SecretStr | None = Field(
        None,
        description="of the adapters' administration; better in the environment: UPKEEP_GATEWAY__ENGINE_API_KEY",
    )
    model_name: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="the base's name at the engine; unset: the engine says it",
    )
    adapters: Path = Field(
        Path("upkeep-data/gateway"), description="folder of the adapters, which the engine reads"
    )
    engine_adapters: str | None = Field(
        None,
        min_length=1,
        max_length=1024,
        description="the same folder as the engine sees it; unset: adapters",
    )
    sweep_after_seconds: float = Field(
        86_400.0,
        ge=3_600.0,
        description="an adapter's folder that no live edit, engine or gateway needed for so long is removed",
    )
    max_adapters: int = Field(
        64, ge=1, le=100_000, description="adapters that stay loaded: no more than vLLM's --max-cpu-loras"
    )
    prefetch: int = Field(
        16,
        ge=0,
        le=10_000,
        description="a generation with at most so many new edits is loaded before it is asked",
    )
    on_failure: Literal["base", "error"] = Field(
        "base", description='an adapter cannot be loaded: "base" answers, or an "error"'
    )
    max_body_bytes: int = Field(1 << 20, ge=1_024, le=1 << 30, description="a longer request is refused: 413")
    max_concurrent: int = Field(256, ge=1, le=65_536, description="requests at a time; further ones get 503")
    connect_seconds: float = Field(
        5.0, gt=0.0, le=600.0, description="how long the engine may take to accept"
    )
    read_seconds: float = Field(
        300.0, gt=0.0, le=86_400.0, description="how long the engine may be silent within an answer"
    )
    drain_seconds: int = Field(30, ge=0, le=3_600, description="for the requests in hand at SIGTERM")
    url: str | None = Field(
        None,
        max_length=1024,
        pattern=r"^https?://[^/?#@]+$",
        description="where workers reach the gateway for the parity check, without a path; unset: no such check",
    )
    parity_seconds: float = Field(
        900.0, ge=1.0, description="how often its answers are compared with those in process"
    )
    parity_sample: int = Field(
        64, ge=1, le=1_000, description="live edits that are compared, and as many probes"
    )
    parity_floor: Ratio = Field(0.95, description="share of those that must agree")


def _keys(value: SecretStr) -> list[tuple[ConsoleRole | None, str]]:
    return [_role_and_key(key.strip()) for key in value.get_secret_value().split(",")]


def _role_and_key(text: str) -> tuple[ConsoleRole | None, str]:
    """`operate:KEY` in its parts; a key without a role asks the model, and no more."""
    role, colon, key = text.partition(":")
    return (ConsoleRole(role), key) if colon and role in tuple(ConsoleRole) else (None, text)


def is_loopback(host: str) -> bool:
    """Only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"
