"""The settings of an embedded daemon: what somebody wrote, and over it what only this daemon can know.

They are written to `upkeep.toml` in its folder, at each start anew: its roles read that file, and so do
`upkeep submit`, `ask` and every other command in another terminal.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.settings.complaints import BadSettings
from daemon.settings.settings import Settings, load_settings, settings_home
from daemon.settings.settings_file import write_settings

CONFIG = "upkeep.toml"
HEADER = """\
Written by `upkeep run --embedded` at each start, for its roles and for commands in another terminal:
UPKEEP_CONFIG=THIS_FILE, or --config. To change a setting, give `run --embedded` a --config of your own."""

# What the embedded broker, ledger and store decide; nobody else can say it.
DECIDED = {
    "kafka": (
        *("bootstrap_servers", "security_protocol", "sasl_mechanism", "sasl_username", "sasl_password"),
        *("ssl_cafile", "ssl_certfile", "ssl_keyfile"),
    ),
    "ledger": ("url",),
    "store": ("path",),
}


class _WrittenSettings(Settings):
    """What a file says, without the environment: that one stays where it is, secrets among it."""

    reads_environment = False


def given_settings(config: Path | None, model: str | None, *, decided_too: bool = False) -> Settings:
    """What the reader's own file (None: there is none), the environment and `--model` say together.

    Args:
        decided_too: the file is the one that an embedded daemon wrote: it may say what that one decided.

    Raises:
        BadSettings: a setting is wrong, says what the embedded daemon decides, or contradicts `--model`.
    """
    settings = load_settings(config)
    if not decided_too:
        _refuse(settings, _defaults(config), "run --embedded decides it: take it out")
    if model is None:
        return settings
    named = _model_path(model)
    if settings.model.path not in (None, named):
        raise BadSettings(f"model.path is {settings.model.path}, and --model is {named}: name one of them")
    return settings.model_copy(update={"model": settings.model.model_copy(update={"path": named})})


def write_embedded(
    state: Path, config: Path | None, model: str, *, brokers: str, port: int, own_file: bool = False
) -> Settings:
    """Write `upkeep.toml` into the folder, and read it back as the roles will.

    Args:
        config: the reader's own file, whose other settings are taken over.
        model: folder or hub id.
        brokers: where the embedded broker listens.
        port: of the HTTP interface, where the reader's file names none.
        own_file: `config` is the one of an earlier start, whose port was no reader's choice.

    Raises:
        BadSettings: the environment says what only this daemon can know.
        OSError: the folder cannot be written.
    """
    tables = _written(config)
    _under(tables, "planner", embedding="tfidf")  # of three copies of the base, the scheduler's can be spared
    _under(tables, "kafka", session_timeout_ms=3_000)  # a joining consumer waits for half of it
    (_over if own_file else _under)(tables, "serve", port=port)
    _under(tables, "gateway", adapters="gateway")
    _over(tables, "model", path=model)
    _over(tables, "kafka", bootstrap_servers=brokers)
    _over(tables, "ledger", url="sqlite:///ledger.db")
    _over(tables, "store", path="adapters")
    write_settings(state / CONFIG, tables, header=HEADER)
    read = load_settings(state / CONFIG)
    wanted = _WrittenSettings.model_validate(tables).anchored(state)
    _refuse(read, wanted, "the environment names another than run --embedded, which decides it: take it out")
    return read


def _refuse(settings: Settings, wanted: Settings, why: str) -> None:
    different = [
        f"{section}.{key}"
        for section, keys in DECIDED.items()
        for key in keys
        if getattr(getattr(settings, section), key) != getattr(getattr(wanted, section), key)
    ]
    if different:
        raise BadSettings("\n".join(f"{name}: {why}" for name in different))


def _defaults(config: Path | None) -> Settings:
    """The defaults, their relative paths taken from where the file's are."""
    return _WrittenSettings().anchored(settings_home(config))


def _written(config: Path | None) -> dict[str, dict[str, Any]]:
    """What the file says and nothing else, its relative paths made absolute."""
    if config is None:
        return {}
    table = tomllib.loads(config.read_text(encoding="utf-8"))
    settings = _WrittenSettings.model_validate(table).anchored(settings_home(config))
    return {section: _section(settings, section, keys) for section, keys in table.items()}


def _section(settings: Settings, section: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    fields = {
        info.alias or name: name for name, info in type(getattr(settings, section)).model_fields.items()
    }
    decided = DECIDED.get(section, ())
    return {
        key: getattr(getattr(settings, section), fields.get(key, key)) for key in keys if key not in decided
    }


def _under(tables: dict[str, dict[str, Any]], section: str, **values: Any) -> None:
    tables[section] = values | tables.get(section, {})


def _over(tables: dict[str, dict[str, Any]], section: str, **values: Any) -> None:
    tables[section] = tables.get(section, {}) | values


def _model_path(model: str) -> str:
    folder = Path(model).expanduser()
    return str(folder.absolute()) if folder.is_dir() or model.startswith((".", "/", "~")) else model
