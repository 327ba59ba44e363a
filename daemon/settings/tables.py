"""The tables of the settings file, one class each: every key with its default, its bounds and what it means."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from daemon.settings.complaints import BadSettings
from daemon.settings.crontab import checked
from daemon.settings.secrets import mask_url
from editors.index import DEFAULT_ENCODER
from planners.settings import PlannerSettings

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Port = Annotated[int, Field(ge=1, le=65535)]
Topic = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
EditorTable = dict[str, bool | int | float | str]


class SettingsTable(BaseModel):
    """One table of the settings file: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True, protected_namespaces=()
    )


class ModelSettings(SettingsTable):
    """The base model, whose weights are never written to."""

    path: str | None = Field(None, description="directory or Hugging Face hub id of a causal language model")
    device: str = Field("auto", description='"auto" (cuda when there is one), "cpu", "cuda", "cuda:1" ...')
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description='"auto" takes what the checkpoint says'
    )
    ffn_module: str | None = Field(
        None,
        description="for an architecture that Upkeep does not know: layers|FFN|its last projection|final norm, "
        "such as model.layers|mlp|mlp.down_proj|model.norm",
    )
    layer: int | None = Field(
        None, ge=0, description="the layer that is edited; unset: chosen from the depth"
    )
    bank_bytes: int = Field(
        2 * 1024**3, ge=0, description="device memory for experts; those that do not fit are paged"
    )
    max_new_tokens: int = Field(32, ge=1, le=4096, description="the longest answer, in tokens")
    chat: Literal["auto", "on", "off"] = Field(
        "auto", description='asked through its chat template, too: "auto" where it has one, "on", "off"'
    )

    def required_path(self) -> str:
        """`path`, for the roles that cannot work without a model.

        Raises:
            BadSettings: the path is not set, or is a directory that is not there.
        """
        if not self.path:
            raise BadSettings(
                "model.path is not set: name a model directory or a Hugging Face hub id in [model] of the "
                "settings file, or in the environment variable UPKEEP_MODEL__PATH"
            )
        if Path(self.path).is_absolute() and not Path(self.path).is_dir():  # no hub id, see _anchored_model
            raise BadSettings(f"model.path: there is no directory {self.path}")
        return self.path


class IndexSettings(SettingsTable):
    """The scope index, which decides whether a prompt asks an edited fact."""

    encoder: str = Field(
        DEFAULT_ENCODER,
        max_length=1024,
        description='sentence encoder that reads prompts: a folder or a hub id; "": the base\'s own answers decide',
    )


class KafkaSettings(SettingsTable):
    """The one Kafka cluster; the security settings are handed to kafka-python as they are."""

    bootstrap_servers: str = Field("localhost:9092", description="host:port[,host:port...]")
    topic: Topic = Field("fact-updates", description="where fact updates arrive")
    dead_letter_topic: Topic | None = Field(None, description='unset: the topic with ".dlq" behind it')
    outcomes_topic: Topic = Field("edit-outcomes", description="where Upkeep says what became of each edit")
    group_id: str = Field("upkeep", min_length=1, max_length=255, description="the consumer group")
    client_id: str = Field("upkeep", min_length=1, max_length=255, description="how brokers' logs name us")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    sasl_username: str | None = Field(None, description="who logs in")
    sasl_password: SecretStr | None = Field(
        None, description="better in the environment: UPKEEP_KAFKA__SASL_PASSWORD"
    )
    ssl_cafile: Path | None = Field(None, description="PEM file of the authorities that sign the brokers")
    ssl_certfile: Path | None = Field(None, description="PEM file of our own certificate")
    ssl_keyfile: Path | None = Field(None, description="PEM file of our own key")
    ssl_check_hostname: bool = Field(True, description="refuse a broker whose certificate names another host")
    create_topics: bool = Field(True, description="create topics that are missing")
    partitions: int = Field(1, ge=1, le=10_000, description="partitions of a topic that Upkeep creates")
    session_timeout_ms: int = Field(
        10_000, ge=1_000, le=600_000, description="a silent consumer loses its partitions after this time"
    )
    request_timeout_ms: int = Field(
        30_000, ge=1_000, le=600_000, description="how long one request to a broker may take"
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        for address in value.split(","):
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
                raise ValueError("must be host:port, or several of them with commas between")
        return value

    @property
    def dead_letters(self) -> str:
        """The topic of what could not be read."""
        return self.dead_letter_topic or f"{self.topic}.dlq"

    @property
    def topics(self) -> tuple[str, str, str]:
        """All that Upkeep reads and writes."""
        return self.topic, self.dead_letters, self.outcomes_topic


class ConsumerSettings(SettingsTable):
    """How records are taken from Kafka into the ledger."""

    max_poll_records: int = Field(500, ge=1, le=10_000, description="records of one ledger transaction")
    max_backlog: int = Field(
        50_000, ge=1, description="edits waiting in the ledger at which the partitions are paused"
    )
    templates: Path | None = Field(
        None,
        description='TOML or JSON file, relation = "The capital of {subject} is" or a list of such phrasings',
    )
    max_value_bytes: int = Field(
        1 << 20, ge=1_024, le=64 << 20, description="a longer record is a dead letter"
    )


class LedgerSettings(SettingsTable):
    """The database of edits, plans, generations and their history."""

    url: str = Field(
        "sqlite:///upkeep-data/ledger.db",
        repr=False,  # a PostgreSQL URL may carry a password
        description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE",
    )

    @field_validator("url")
    @classmethod
    def _is_a_known_database(cls, value: str) -> str:
        if not re.match(r"^(sqlite|postgres|postgresql)(\+\w+)?://", value):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        return value

    @property
    def shown_url(self) -> str:
        """The URL with its password masked: fit for a log or a terminal."""
        return mask_url(self.url)


class StoreSettings(SettingsTable):
    """The adapter store."""

    path: Path = Field(Path("upkeep-data/adapters"), description="folder of the trained shards")
    folder_mode: str = Field(
        "0700",
        pattern=r"^0?7[0-7]{2}$",
        description='rights of new folders there; "0750" where another user of the same group serves',
    )


class PlanningSettings(PlannerSettings):
    """How pending edits become an ordered plan of batches: the planner's own settings, and what the daemon adds."""

    model_config = ConfigDict(hide_input_in_errors=True)

    embedding: Literal["base", "sentence-transformers", "tfidf"] = Field(
        "base",
        description='"base" (the base itself, loaded by the scheduler for it; where that fails, "tfidf"), '
        '"sentence-transformers" or "tfidf"',
    )
    embedding_model: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        min_length=1,
        description='folder or hub id of the model of embedding = "sentence-transformers"',
    )
    max_edits_per_cycle: int = Field(100_000, ge=1, description="the rest waits for the next cycle")


class EditorsSettings(SettingsTable):
    """Free tables: each editor checks its own and refuses what it does not know."""

    scen: EditorTable = Field(default_factory=dict, description="settings of the SCEN editor")
    lemoe: EditorTable = Field(default_factory=dict, description="settings of the LEMoE editor")

    @property
    def tables(self) -> dict[str, EditorTable]:
        """Each editor's table by the editor's name."""
        return {"scen": self.scen, "lemoe": self.lemoe}

    @field_validator("scen", "lemoe", mode="before")
    @classmethod
    def _read_scalars(cls, value: Any) -> Any:
        """The environment knows only text: UPKEEP_EDITORS__SCEN__RANK=8 means the number."""
        return {key: _scalar(item) for key, item in value.items()} if isinstance(value, dict) else value


class VerifySettings(SettingsTable):
    """The floors under which an edit does not go live, and how often accidents are forgiven."""

    reliability_floor: Ratio = Field(
        0.5, description="share of an edit's own phrasings that must answer as told; its prompt always must"
    )
    locality_floor: Ratio = Field(0.98, description="share of unrelated prompts that must answer as the base")
    far_ceiling: Ratio = Field(
        0.001, description="of the shipped texts that concern no edit, the share on which one may fire"
    )
    retention_sample: int = Field(64, ge=0, le=10_000, description="how many earlier edits are asked again")
    retention_floor: Ratio = Field(0.95, description="share of those that must still answer as told")
    max_attempts: int = Field(
        5,
        ge=1,
        le=100,
        description="failures by accident after which a batch is halved, one edit quarantined",
    )


class WorkerSettings(SettingsTable):
    """How a worker holds on to a batch."""

    lease_seconds: float = Field(
        60.0, ge=1.0, le=86_400.0, description="a silent worker loses its batch then"
    )
    poll_seconds: float = Field(
        1.0, ge=0.01, le=3_600.0, description="how often an idle worker looks for work"
    )


class ScheduleSettings(SettingsTable):
    """When what happens."""

    timezone: str = Field("UTC", description="the zone of nightly_cron, such as Europe/Berlin")
    nightly_cron: str = Field("0 2 * * *", description="the batch lane: minute hour day month weekday")
    urgent_seconds: float = Field(
        5.0, ge=0.1, le=86_400.0, description="how often the urgent lane is planned"
    )
    approval: bool = Field(
        False, description="true: a nightly plan waits until a person approves it; urgent ones never wait"
    )
    check_seconds: float = Field(900.0, ge=1.0, description="how often a locality regression is asked for")
    full_check_cron: str = Field(
        "0 4 * * *", description="when all probes and all live edits are asked, not a sample"
    )
    housekeeping_seconds: float = Field(300.0, ge=1.0, description="how often old rows are cleared away")
    lag_seconds: float = Field(
        15.0, ge=0.1, le=3_600.0, description="how often the consumer group's lag is measured"
    )
    misfire_grace_seconds: int = Field(
        600, ge=1, description="a nightly job later than this is caught up on once, with a warning"
    )

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("must be the name of a time zone, such as UTC or Europe/Berlin") from error
        return value

    @field_validator("nightly_cron", "full_check_cron")
    @classmethod
    def _is_a_crontab(cls, value: str) -> str:
        return checked(value)


class MonitoringSettings(SettingsTable):
    """What the locality regression asks, and what a failure leads to."""

    suites: dict[str, Path] = Field(
        default_factory=dict, description='name = "probes.jsonl": one {"prompt": ..., "kind": ...} a line'
    )
    text: Path | None = Field(
        None,
        description="running text for the perplexity, passages between blank lines; unset: a shipped one",
    )
    error_bound: float = Field(
        0.004, gt=0.0, lt=0.5, description="a suite's sample is as large as this error at the floor needs"
    )
    retention_error_bound: float = Field(
        0.02, gt=0.0, lt=0.5, description="the same for the sample of live edits"
    )
    locality_floor: Ratio = Field(0.99, description="share of probes that must answer as the base")
    perplexity_ceiling: float = Field(
        1.02, ge=1.0, description="the most by which edits may raise the perplexity of unrelated text"
    )
    drift_shift: float = Field(
        0.01, gt=0.0, lt=0.9, description="the rise of a suite's bad answers that must not be missed"
    )
    drift_threshold: float = Field(
        3.0, gt=0.0, description="evidence (log likelihood ratio, summed) at which a rise is an alarm"
    )
    drift_window: int = Field(
        20, ge=1, le=1_000, description="earlier checks that say what is usual for a suite"
    )
    slice_seconds: float = Field(
        5.0, gt=0.0, le=3_600.0, description="a check gives way to urgent batches after so long"
    )
    on_failure: Literal["observe", "hold", "rollback"] = Field(
        "observe",
        description='"observe", "hold" (no further batches) or "rollback" (to the last good generation)',
    )


class MetricsSettings(SettingsTable):
    """Prometheus metrics of a role that runs alone; under `upkeep run`, `serve` shows those of all roles."""

    host: str = Field("127.0.0.1", min_length=1, description="address of a lone role's /metrics")
    port: Port | None = Field(None, description="port of a lone role's /metrics; unset: none")


class LogSettings(SettingsTable):
    """What is said on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description='"debug", "info", "warning" or "error"'
    )
    as_json: bool = Field(True, alias="json", description="one JSON object a line; false: for human eyes")


def _scalar(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"true|false|-?(0|[1-9]\d*)(\.\d+)?([eE]-?\d+)?", value):
        return json.loads(value)
    return value
