"""Settings: one file, the environment over it, and messages that a tired operator understands."""

import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from daemon.settings.complaints import BadSettings, section_keys
from daemon.settings.settings import Settings, load_settings

TEMPLATE = (files("daemon") / "data" / "upkeep.toml").read_text(encoding="utf-8")


def _load(folder: Path, text: str) -> Settings:
    path = folder / "upkeep.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def test_the_template_that_init_writes_loads_and_equals_the_defaults(tmp_path: Path) -> None:
    assert _load(tmp_path, TEMPLATE) == _load(tmp_path, "")


def test_the_template_still_loads_with_every_optional_key_taken_out_of_its_comment(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^# (\w+ = )", r"\1", TEMPLATE)

    settings = _load(tmp_path, text)

    written = tomllib.loads(text)
    for section in Settings.model_fields:
        known = set(section_keys(Settings, section))
        assert known == set(written[section]), f"the template and [{section}] differ"
    assert settings.kafka.sasl_password is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[kafka]\ntopik = 'x'", "line 2: unknown key kafka.topik; did you mean topic?"),
        ("[kafak]\ntopic = 'x'", "line 1: unknown key kafak; did you mean kafka?"),
        (
            "\n[kafka]\nbatch_size = 3",
            "line 3: unknown key kafka.batch_size; batch_size is a key of [planner]",
        ),
        ("[store]\nzzz = 3", "unknown key store.zzz; [store] knows path"),
        ("kafka = 1", "line 1: kafka must be a table: [kafka]"),
        ("[kafka]\npartitions = 0", "line 2: kafka.partitions must be at least 1 and at most 10000"),
        ("[verify]\nlocality_floor = 1.5", "verify.locality_floor must be at least 0.0 and at most 1.0"),
        ("[kafka]\nbootstrap_servers = 'nowhere'", "must be host:port"),
        ("[kafka]\ntopic = 'a topic'", "kafka.topic must be of the form"),
        ("[planner]\nclustering = 'dbscan'", "'kmeans', 'bisecting' or 'agglomerative'"),
        ("[ledger]\nurl = 'mysql://x'", "must begin with sqlite:/// or postgresql://"),
        ("[schedule]\ntimezone = 'Mars/Olympus'", "must be the name of a time zone"),
        ("[schedule]\nnightly_cron = 'at night'", "must be five cron fields"),
        ("[schedule]\nfull_check_cron = '0 4 31 2 *'", "must be five cron fields"),
        ("[kafka\n", "is no valid TOML"),
        (
            "[editors.scen]\nrank = [1]",
            "line 2: editors.scen.rank must be a number, a text, true or false",
        ),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_place_and_what_would_do(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(BadSettings) as refusal:
        _load(tmp_path, text)

    assert message in str(refusal.value)
    assert str(tmp_path / "upkeep.toml") in str(refusal.value)


def test_every_wrong_key_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadSettings) as refusal:
        _load(tmp_path, "[serve]\nport = 0\nprot = 1\n[log]\nlevel = 'loud'")

    assert len(str(refusal.value).splitlines()) == 3


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPKEEP_KAFKA__TOPIC", "from-environment")
    monkeypatch.setenv("UPKEEP_LOG__JSON", "false")
    monkeypatch.setenv("UPKEEP_EDITORS__SCEN__RANK", "8")

    settings = _load(tmp_path, "[kafka]\ntopic = 'from-file'\ngroup_id = 'kept'\n[editors.scen]\nsteps = 9")

    assert settings.kafka.topic == "from-environment"
    assert settings.kafka.group_id == "kept"
    assert settings.log.as_json is False
    assert settings.editors.scen == {"steps": 9, "rank": 8}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("UPKEEP_KAFKA__TOPIK", "x", "environment variable UPKEEP_KAFKA__TOPIK: unknown key"),
        ("UPKEEP_KAFAK__TOPIC", "x", "environment variable UPKEEP_KAFAK__TOPIC: no such section"),
        ("UPKEEP_SERVE__PORT", "many", "environment variable UPKEEP_SERVE__PORT: serve.port must be"),
        ("UPKEEP_MONITORING__SUITES", "x", "monitoring"),
    ],
)
def test_a_wrong_environment_variable_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(BadSettings, match=re.escape(message)):
        load_settings(None)


def test_a_secret_may_stand_in_a_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "url").write_text("postgresql://me:hunter2@db/upkeep\n", encoding="utf-8")
    (tmp_path / "port").write_text("many", encoding="utf-8")
    monkeypatch.setenv("UPKEEP_LEDGER__URL_FILE", str(tmp_path / "url"))

    assert load_settings(None).ledger.url == "postgresql://me:hunter2@db/upkeep"

    monkeypatch.setenv("UPKEEP_SERVE__PORT_FILE", str(tmp_path / "port"))
    with pytest.raises(
        BadSettings, match=r"environment variable UPKEEP_SERVE__PORT_FILE: serve\.port must be"
    ):
        load_settings(None)
    monkeypatch.setenv("UPKEEP_SERVE__PORT_FILE", str(tmp_path / "absent"))
    with pytest.raises(BadSettings, match=r"UPKEEP_SERVE__PORT_FILE: .*absent cannot be read: No such file"):
        load_settings(None)
    monkeypatch.setenv("UPKEEP_SERVE__PORT", "8080")
    with pytest.raises(BadSettings, match="UPKEEP_SERVE__PORT_FILE: set one of them"):
        load_settings(None)


def test_other_variables_of_that_prefix_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPKEEP_CONFIG", "elsewhere.toml")
    monkeypatch.setenv("UPKEEP_TEST_POSTGRES_URL", "postgresql://x")

    assert load_settings(None).kafka.topic == "fact-updates"


def test_secrets_show_up_neither_in_print_nor_in_messages(tmp_path: Path) -> None:
    settings = _load(
        tmp_path,
        "[kafka]\nsasl_password = 'hunter2'\n[ledger]\nurl = 'postgresql://me:hunter2@db/upkeep'",
    )

    assert "hunter2" not in repr(settings)
    assert settings.ledger.shown_url == "postgresql://me:***@db/upkeep"
    with pytest.raises(BadSettings) as refusal:
        _load(tmp_path, "[kafka]\nsasl_password = ['hunter2']\n[ledger]\nurl = 'mysql://me:hunter2@db'")
    assert "hunter2" not in str(refusal.value)


def test_relative_paths_are_taken_from_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    (folder / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    settings = _load(
        folder,
        "[model]\npath = 'model'\n[monitoring]\nsuites = {far = 'far.jsonl'}\n[kafka]\n"
        "ssl_cafile = '/ca.pem'\n[consumer]\ntemplates = 't.toml'",
    )

    assert settings.model.path == str(folder / "model")
    assert settings.monitoring.suites == {"far": folder / "far.jsonl"}
    assert settings.consumer.templates == folder / "t.toml"
    assert settings.kafka.ssl_cafile == Path("/ca.pem")
    assert settings.store.path == folder / "upkeep-data" / "adapters"
    assert settings.ledger.url == f"sqlite:///{folder}/upkeep-data/ledger.db"


def test_a_file_that_kubernetes_mounts_is_taken_from_where_its_name_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ConfigMap's file is a link through `..data` into a folder that the next change replaces."""
    (tmp_path / "..2026_11_26_03_00_00.1234").mkdir()
    _load(tmp_path / "..2026_11_26_03_00_00.1234", "[store]\npath = 'adapters'")
    (tmp_path / "..data").symlink_to("..2026_11_26_03_00_00.1234")
    (tmp_path / "upkeep.toml").symlink_to("..data/upkeep.toml")
    monkeypatch.chdir(tmp_path)

    for named in (tmp_path / "upkeep.toml", Path("upkeep.toml")):
        settings = load_settings(named)
        assert settings.store.path == tmp_path / "adapters"
        assert settings.ledger.url == f"sqlite:///{tmp_path}/upkeep-data/ledger.db"


def test_a_hub_id_stays_a_hub_id(tmp_path: Path) -> None:
    settings = _load(tmp_path, "[model]\npath = 'Qwen/Qwen2.5-0.5B'")

    assert settings.model.required_path() == "Qwen/Qwen2.5-0.5B"


def test_a_role_that_needs_a_model_says_how_to_name_one() -> None:
    with pytest.raises(BadSettings, match=r"model\.path is not set"):
        load_settings(None).model.required_path()


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="upkeep init"):
        load_settings(tmp_path / "upkeep.toml")
