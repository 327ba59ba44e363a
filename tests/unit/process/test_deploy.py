"""What ships beside the code: settings that exist, and files that the image will really find."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from daemon.process.settings import load_settings

REPOSITORY = Path(__file__).resolve().parents[3]
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))


def test_the_containers_settings_and_their_environment_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in COMPOSE["x-upkeep"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:\?.*?\}", "secret", value))

    settings = load_settings(REPOSITORY / "deploy" / "upkeep.toml")

    assert settings.ledger.url == "postgresql://upkeep:secret@postgres/upkeep"
    assert settings.serve.host == "0.0.0.0"  # noqa: S104  -- inside the container


def test_compose_publishes_on_loopback_only_and_mounts_files_that_exist() -> None:
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith("./") or (REPOSITORY / source).exists(), source


def test_prometheus_scrapes_every_role_where_it_listens() -> None:
    scrape = yaml.safe_load(
        (REPOSITORY / "monitoring" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    )
    targets = [
        target
        for job in scrape["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    ports = tomllib.loads((REPOSITORY / "deploy" / "upkeep.toml").read_text(encoding="utf-8"))
    alone = ports["metrics"]["port"]

    assert targets == ["serve:8080", f"consume:{alone}", f"schedule:{alone}", f"worker:{alone}"]


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
