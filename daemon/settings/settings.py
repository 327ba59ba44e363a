"""The settings of every role: one TOML file, environment variables over it, and errors that name the key.

    upkeep.toml             [kafka] / topic = "facts"
    environment (wins)      UPKEEP_KAFKA__TOPIC=facts, or UPKEEP_KAFKA__TOPIC_FILE=/run/secrets/topic

A wrong key or value is refused before anything starts. The message never repeats the value of a secret.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from daemon.settings import tables
from daemon.settings.complaints import BadSettings, explain, unknown_variable
from daemon.settings.console_tables import ConsoleSettings
from daemon.settings.environment import EnvironmentOrFiles
from daemon.settings.http_tables import GatewaySettings, ServeSettings

ENV_PREFIX = "UPKEEP_"
MAX_FILE_BYTES = 1 << 20


class Settings(BaseSettings):
    """All settings of all roles: immutable, complete and checked."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    reads_environment: ClassVar[bool] = True

    model: tables.ModelSettings = Field(default_factory=tables.ModelSettings)
    index: tables.IndexSettings = Field(default_factory=tables.IndexSettings)
    kafka: tables.KafkaSettings = Field(default_factory=tables.KafkaSettings)
    consumer: tables.ConsumerSettings = Field(default_factory=tables.ConsumerSettings)
    ledger: tables.LedgerSettings = Field(default_factory=tables.LedgerSettings)
    store: tables.StoreSettings = Field(default_factory=tables.StoreSettings)
    planner: tables.PlanningSettings = Field(default_factory=tables.PlanningSettings)
    editors: tables.EditorsSettings = Field(default_factory=tables.EditorsSettings)
    verify: tables.VerifySettings = Field(default_factory=tables.VerifySettings)
    worker: tables.WorkerSettings = Field(default_factory=tables.WorkerSettings)
    schedule: tables.ScheduleSettings = Field(default_factory=tables.ScheduleSettings)
    monitoring: tables.MonitoringSettings = Field(default_factory=tables.MonitoringSettings)
    serve: ServeSettings = Field(default_factory=ServeSettings)
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)
    metrics: tables.MetricsSettings = Field(default_factory=tables.MetricsSettings)
    log: tables.LogSettings = Field(default_factory=tables.LogSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then what the file said."""
        environment = (EnvironmentOrFiles(settings_cls),) if cls.reads_environment else ()
        return (*environment, init_settings)

    def anchored(self, folder: Path) -> "Settings":
        """The same settings with every relative path taken from `folder` instead of the working directory."""
        consumer, store = self.consumer, self.store
        suites, text = self.monitoring.suites, self.monitoring.text
        ssl_files = {
            key: _under(folder, path)
            for key in ("ssl_cafile", "ssl_certfile", "ssl_keyfile")
            if (path := getattr(self.kafka, key)) is not None
        }
        changes: dict[str, BaseModel] = {
            "model": self.model.model_copy(update={"path": _anchored_model(folder, self.model.path)}),
            "kafka": self.kafka.model_copy(update=ssl_files),
            "planner": self.planner.model_copy(
                update={"embedding_model": _anchored_model(folder, self.planner.embedding_model)}
            ),
            "index": self.index.model_copy(
                update={"encoder": _anchored_model(folder, self.index.encoder or None) or ""}
            ),
            "ledger": self.ledger.model_copy(update={"url": _anchored_url(folder, self.ledger.url)}),
            "gateway": self.gateway.model_copy(update={"adapters": _under(folder, self.gateway.adapters)}),
            "store": store.model_copy(update={"path": _under(folder, store.path)}),
            "monitoring": self.monitoring.model_copy(
                update={
                    "suites": {name: _under(folder, path) for name, path in suites.items()},
                    "text": _under(folder, text) if text is not None else None,
                }
            ),
        }
        if consumer.templates is not None:
            changes["consumer"] = consumer.model_copy(
                update={"templates": _under(folder, consumer.templates)}
            )
        return self.model_copy(update=changes)


def load_settings(path: Path | None) -> Settings:
    """Read `path` (None: no file, defaults only), lay the environment over it, and check everything.

    Raises:
        BadSettings: the file cannot be read, or a key or value in it or in the environment is wrong.
    """
    text = "" if path is None else _read(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{path} is no valid TOML: {error}") from error
    if complaint := unknown_variable(Settings, ENV_PREFIX):
        raise BadSettings(complaint)
    try:
        settings = Settings(**table)
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False)
        lines = [explain(detail, Settings, ENV_PREFIX, path, text) for detail in details]
        raise BadSettings("\n".join(dict.fromkeys(lines))) from None
    except SettingsError as error:  # an environment variable that holds no valid JSON where a table is meant
        raise BadSettings(f"environment variables: {error}; a table is written as JSON") from None
    except TypeError as error:  # a top-level key that is no identifier
        raise BadSettings(f"{path}: {error}") from None
    if complaint := _unservable(settings):
        raise BadSettings(f"{path or 'settings'}: {complaint}")
    return settings.anchored(settings_home(path))


def settings_home(path: Path | None) -> Path:
    """The folder from which relative paths in the file are taken: the one where its name stands.

    Not where a link leads to: Kubernetes mounts a ConfigMap as a link into a folder with a time in its name, which is
    another one after each change.
    """
    return Path.cwd() if path is None else Path(os.path.abspath(path)).parent


def _unservable(settings: Settings) -> str | None:
    """What `serve.engine` cannot serve: behind vLLM every edit must be a LoRA adapter that its text alone chooses."""
    if settings.serve.engine == "embedded":
        return None
    if not settings.index.encoder:
        return 'serve.engine = "vllm" needs index.encoder: the gateway has no base that it could ask'
    for key, servable in (("mode", "default"), ("routing", "scope")):
        if settings.editors.scen.get(key, servable) != servable:
            return f'serve.engine = "vllm" needs editors.scen.{key} = "{servable}": no LoRA adapter can be made of the other'
    return None


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadSettings(f"{path} is larger than {MAX_FILE_BYTES} bytes: that is no settings file")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadSettings(f"there is no settings file {path}: `upkeep init` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"the settings file {path} cannot be read: {error}") from error


def _under(folder: Path, path: Path) -> Path:
    return folder / path.expanduser()


def _anchored_model(folder: Path, path: str | None) -> str | None:
    """A hub id (`org/name`) looks like a relative path: it is a path if it starts like one or exists."""
    if path is None:
        return None
    local = _under(folder, Path(path))
    return str(local) if path.startswith((".", "/", "~")) or local.exists() else path


def _anchored_url(folder: Path, url: str) -> str:
    found = re.match(r"^(sqlite(?:\+\w+)?:///)(?!/|:memory:|file:)(.+)$", url)
    return f"{found[1]}{_under(folder, Path(found[2]))}" if found else url
