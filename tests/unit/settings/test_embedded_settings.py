"""What an embedded daemon takes from its reader's settings, and what it refuses by name; one folder, one daemon."""

import math
import os
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from daemon.embedded.embedded_settings import given_settings, write_embedded
from daemon.embedded.state_folder import StateInUse, StateUnusable, state_folder
from daemon.settings.complaints import BadSettings
from daemon.settings.settings import Settings, load_settings
from daemon.settings.settings_file import write_settings

BROKERS = "127.0.0.1:9099"


def _written(state: Path, config: Path | None = None) -> Settings:
    state.mkdir(exist_ok=True)
    return write_embedded(state, config, "org/model", brokers=BROKERS, port=8081)


def _file(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_everything_lies_in_the_folder(tmp_path: Path) -> None:
    settings = _written(tmp_path / "state")

    assert settings.model.path == "org/model"
    assert settings.kafka.bootstrap_servers == BROKERS
    assert settings.ledger.url == f"sqlite:///{tmp_path}/state/ledger.db"
    assert settings.store.path == tmp_path / "state" / "adapters"
    assert settings.serve.port == 8081
    assert settings == load_settings(tmp_path / "state" / "upkeep.toml")
    assert (tmp_path / "state" / "upkeep.toml").stat().st_mode & 0o077 == 0


def test_what_the_readers_file_says_stays_and_its_paths_are_taken_from_its_own_folder(tmp_path: Path) -> None:
    text = (
        "[serve]\nport = 8085\napi_key = 'a-long-enough-key'\ncors_origins = ['https://a.example']\n"
        "[planner]\nembedding = 'base'\n[kafka]\ntopic = 'mine'\n[editors.scen]\nsteps = 9\n[log]\njson = false\n"
        "[monitoring]\nsuites = {\"a \\\"far\\\" one\" = 'far.jsonl'}\n[consumer]\ntemplates = 't.toml'\n"
    )

    settings = _written(tmp_path / "state", _file(tmp_path / "site", text))

    assert (settings.serve.port, settings.planner.embedding, settings.kafka.topic) == (8085, "base", "mine")
    assert settings.serve.api_key is not None
    assert settings.serve.api_key.get_secret_value() == "a-long-enough-key"
    assert settings.serve.cors_origins == ("https://a.example",)
    assert settings.editors.scen == {"steps": 9}
    assert settings.log.as_json is False
    assert settings.monitoring.suites == {'a "far" one': tmp_path / "site" / "far.jsonl"}
    assert settings.consumer.templates == tmp_path / "site" / "t.toml"
    assert settings.ledger.url == f"sqlite:///{tmp_path}/state/ledger.db"


def test_the_file_that_init_writes_is_no_contradiction(tmp_path: Path) -> None:

    template = (files("daemon") / "data" / "upkeep.toml").read_text(encoding="utf-8")
    path = _file(tmp_path / "site", template)

    assert given_settings(path, "org/model").model.path == "org/model"
    assert _written(tmp_path / "state", path).store.path == tmp_path / "state" / "adapters"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[kafka]\nbootstrap_servers = 'broker-1:9093'", ["kafka.bootstrap_servers"]),
        (
            "[kafka]\nsecurity_protocol = 'SSL'\nssl_cafile = 'ca.pem'\n[ledger]\nurl = 'postgresql://me:hunter2@db/x'",
            ["kafka.security_protocol", "kafka.ssl_cafile", "ledger.url"],
        ),
        ("[store]\npath = '/elsewhere'", ["store.path"]),
        ("[model]\npath = '/another'", ["model.path"]),
    ],
)
def test_a_setting_that_contradicts_the_embedded_daemon_is_refused_by_name(
    tmp_path: Path, text: str, named: list[str]
) -> None:
    with pytest.raises(BadSettings) as refusal:
        given_settings(_file(tmp_path, text), "org/model")

    lines = str(refusal.value).splitlines()
    assert [line.split(":")[0].split(" ")[0] for line in lines] == named
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("UPKEEP_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092"),  # the default, and yet not this broker
        ("UPKEEP_LEDGER__URL", "postgresql://me@db/x"),
        ("UPKEEP_STORE", '{"path": "/elsewhere"}'),
    ],
)
def test_so_is_one_in_the_environment_which_would_win_over_the_written_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(BadSettings, match="run --embedded"):
        _written(tmp_path / "state")


def test_secrets_of_the_environment_stay_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPKEEP_SERVE__API_KEY", "a-key-of-the-environment")

    settings = _written(tmp_path / "state", _file(tmp_path / "site", "[serve]\nport = 8085"))

    assert settings.serve.api_key is not None
    assert "a-key-of" not in (tmp_path / "state" / "upkeep.toml").read_text(encoding="utf-8")


def test_the_file_of_an_earlier_start_may_be_given_back(tmp_path: Path) -> None:
    state = tmp_path / "state"
    _written(state, _file(tmp_path / "site", "[kafka]\ntopic = 'mine'"))

    again = given_settings(state / "upkeep.toml", None, decided_too=True)

    assert again.model.path == "org/model"
    assert _written(state, state / "upkeep.toml") == again
    moved = write_embedded(
        state, state / "upkeep.toml", "org/model", brokers=BROKERS, port=8099, own_file=True
    )
    assert (moved.serve.port, moved.kafka.topic) == (8099, "mine")


def test_a_folder_belongs_to_one_process_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from daemon.embedded.state_folder import state_folder\n"
        "with state_folder(Path(sys.argv[1])): print('mine', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "state")], stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        with (
            pytest.raises(StateInUse, match=f"process {holder.pid} runs in"),
            state_folder(tmp_path / "state"),
        ):
            pass
        holder.kill()
    with state_folder(tmp_path / "state") as place:
        assert place == tmp_path / "state"


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StateUnusable, match="--state"), state_folder(tmp_path / "file" / "state"):
        pass


def test_every_kind_of_value_survives_the_settings_file(tmp_path: Path) -> None:
    values = {
        "int": -3,
        "float": 1e-12,
        "inf": math.inf,
        "no": False,
        "text": 'a "b" \\ \n \x7f \U0001f600 ä',
    }

    write_settings(
        tmp_path / "a.toml", {"table": values | {"list": [1, 2], "unset": None}}, header="one\ntwo"
    )

    read = tomllib.loads((tmp_path / "a.toml").read_text(encoding="utf-8"))
    assert read == {"table": values | {"list": [1, 2]}}
    assert os.listdir(tmp_path) == ["a.toml"]
