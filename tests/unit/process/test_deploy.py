"""What ships beside the code: settings that exist, and files that the image will really find."""

import contextlib
import http.client
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
import yaml
from support.waiting import eventually, free_port

from daemon.settings.settings import load_settings

REPOSITORY = Path(__file__).resolve().parents[3]
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """What deploy/make-secrets.sh makes."""
    script = shutil.copy(REPOSITORY / "deploy" / "make-secrets.sh", tmp_path)
    subprocess.run(["bash", script], check=True, capture_output=True, env=os.environ | {"HF_TOKEN": ""})
    return tmp_path / "secrets"


@pytest.mark.parametrize(("file", "serves"), [("upkeep.toml", "serve"), ("upkeep-vllm.toml", "gateway")])
def test_the_containers_settings_and_their_environment_are_accepted(
    monkeypatch: pytest.MonkeyPatch, secrets: Path, file: str, serves: str
) -> None:
    for name, value in COMPOSE["x-upkeep"]["environment"].items():
        monkeypatch.setenv(name, _default(value).replace("/run/secrets", str(secrets)))

    settings = load_settings(REPOSITORY / "deploy" / file)

    password = (secrets / "postgres_password").read_text(encoding="utf-8")
    assert len(password) == 48
    assert settings.ledger.url == f"postgresql://upkeep:{password}@postgres/upkeep"
    assert settings.gateway.engine_api_key is not None
    assert getattr(settings, serves).host == "0.0.0.0"  # noqa: S104  -- inside the container


def test_secrets_that_are_there_stay_and_lie_in_a_folder_of_their_owner(secrets: Path) -> None:
    before = {path.name: path.read_bytes() for path in secrets.iterdir()}
    subprocess.run(["bash", str(secrets.parent / "make-secrets.sh")], check=True, capture_output=True)

    assert {path.name: path.read_bytes() for path in secrets.iterdir()} == before
    assert before.keys() == COMPOSE["secrets"].keys()
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_every_service_is_watched_bounded_and_has_no_more_rights_than_it_needs(name: str) -> None:
    service = COMPOSE["services"][name]

    assert service["healthcheck"]["test"][0] == "CMD"
    assert re.search(r"\d+[mg]\}?$", service["mem_limit"])
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service.get("read_only") or name == "kafka"  # which writes its settings beside its program
    assert not service.get("privileged")
    assert not {"network_mode", "pid", "ipc", "cap_add"} & service.keys()


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_every_image_is_pinned_and_no_secret_stands_in_an_environment(name: str) -> None:
    service = COMPOSE["services"][name]

    if not service["image"].startswith("upkeep:"):
        pinned = re.fullmatch(r"[a-z0-9./-]+:v?\d+\.\d+[\w.]*(@sha256:[0-9a-f]{64})?", service["image"])
        assert pinned, service["image"]
        assert (
            pinned[1] or name == "vllm"
        )  # scripts/pin_images.sh: its digest could not be learnt without a registry
    for variable, value in service.get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|TOKEN|API_KEY|LEDGER__URL", variable):
            assert value.startswith("/run/secrets/"), variable
            assert value.removeprefix("/run/secrets/") in service["secrets"], variable
    assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()


def test_the_engine_has_a_gpu_and_only_the_gateway_reaches_it() -> None:
    overlay = yaml.safe_load((REPOSITORY / "deploy" / "compose.gpu.yaml").read_text(encoding="utf-8"))
    services = [COMPOSE["services"]["vllm"], *overlay["services"].values()]

    assert overlay["services"].keys() == {"worker", "serve"}
    for service in services:
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "ports" not in COMPOSE["services"]["vllm"]


@pytest.mark.parametrize("example", ["env.example", "env.vllm.example"])
def test_every_variable_of_the_examples_is_read_and_every_profile_is_there(example: str) -> None:
    text = (REPOSITORY / "deploy" / example).read_text(encoding="utf-8")
    composed = "".join(
        (REPOSITORY / name).read_text(encoding="utf-8")
        for name in ("compose.yaml", "deploy/compose.gpu.yaml")
    )
    known = set(re.findall(r"\$\{(\w+)", composed)) | {"COMPOSE_PROFILES", "COMPOSE_FILE"}
    given = dict(re.findall(r"(?m)^#?([A-Z_]+)=(.*)$", text))
    profiles = {
        profile for service in COMPOSE["services"].values() for profile in service.get("profiles", [])
    }

    assert given.keys() <= known
    assert set(given["COMPOSE_PROFILES"].split(",")) <= profiles
    assert (REPOSITORY / "deploy" / given.get("UPKEEP_SETTINGS", "upkeep.toml")).is_file()
    assert (
        REPOSITORY / "monitoring" / "prometheus" / given.get("PROMETHEUS_CONFIG", "prometheus.yml")
    ).is_file()


def test_the_alert_receiver_that_is_named_exists_and_prints_what_it_is_told() -> None:
    alertmanager = (REPOSITORY / "monitoring" / "prometheus" / "alertmanager.yml").read_text(encoding="utf-8")
    urls = re.findall(r"url: (\S+)", alertmanager)
    assert urls
    assert all(url.startswith("http://alert-receiver:9095/") for url in urls)
    assert "alert-receiver" in COMPOSE["services"]

    port = free_port()
    program = [sys.executable, str(REPOSITORY / "deploy" / "alert_receiver.py"), str(port)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as receiver:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            eventually(lambda: _alive(client), "the receiver listens")
            alert = {
                "status": "firing",
                "labels": {"alertname": "UpkeepWorkerDown"},
                "annotations": {"summary": "no\nworker"},
            }
            assert client.post("/critical", json={"alerts": [alert]}).status_code == 200
            for wrong in (b"{}", b"no json", b'{"alerts": [1]}', b'{"alerts": 1}', b"[" * 100_000):
                assert client.post("/critical", content=wrong).status_code == 400
        assert _announced_size(port, (4 << 20) + 1) == 413
        receiver.terminate()
        out, err = receiver.communicate(timeout=20)
    (line,) = out.splitlines()
    assert json.loads(line) == {
        "to": "/critical",
        "status": "firing",
        "labels": {"alertname": "UpkeepWorkerDown"},
        "summary": "no\nworker",
        "since": None,
    }
    assert "Traceback" not in err


def _default(value: str) -> str:
    """A value of compose.yaml where .env says nothing."""
    return re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value)


def _announced_size(port: int, size: int) -> int:
    """The answer to a request that says how long it is and sends nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("POST", "/critical")
    connection.putheader("content-length", str(size))
    connection.endheaders()
    with contextlib.closing(connection):
        return connection.getresponse().status


def _alive(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_compose_publishes_on_loopback_only_and_mounts_files_that_exist() -> None:
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        for volume in service.get("volumes", []):
            if isinstance(volume, dict):
                assert volume["source"] in COMPOSE["volumes"]
                continue
            source = _default(volume).split(":")[0]
            assert not source.startswith("./") or (REPOSITORY / source).exists(), source


@pytest.mark.parametrize(
    ("config", "settings", "first", "last"),
    [
        ("prometheus.yml", "upkeep.toml", "serve:8080", []),
        ("prometheus-vllm.yml", "upkeep-vllm.toml", "gateway:9466", ["vllm:8000"]),
    ],
)
def test_prometheus_scrapes_every_role_where_it_listens(
    config: str, settings: str, first: str, last: list[str]
) -> None:
    scrape = yaml.safe_load((REPOSITORY / "monitoring" / "prometheus" / config).read_text(encoding="utf-8"))
    targets = [
        target
        for job in scrape["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    ports = tomllib.loads((REPOSITORY / "deploy" / settings).read_text(encoding="utf-8"))
    alone = ports["metrics"]["port"]

    assert targets == [first, f"consume:{alone}", f"schedule:{alone}", f"worker:{alone}", *last]
    assert {target.split(":")[0] for target in targets} <= COMPOSE["services"].keys()


def test_every_file_that_the_dockerfile_copies_exists_and_reaches_the_builder() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    sent = re.findall(r"(?m)^!(.+)$", (REPOSITORY / ".dockerignore").read_text(encoding="utf-8"))

    copied = [
        source
        for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", dockerfile)
        for source in line.split()[:-1]
    ]

    assert copied
    assert all((REPOSITORY / source).exists() for source in copied)
    assert set(copied) == set(sent)
