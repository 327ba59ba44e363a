"""The rules for Prometheus and Alertmanager: read by the real tools, each one seen to fire and to stay silent."""

import re
import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.watching_support import MONITORING, REPOSITORY, every_rule, tool
from typer.main import get_command

from daemon.__main__ import build_app

PROMETHEUS = MONITORING / "prometheus"
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALERTS = [rule for rule in every_rule() if "alert" in rule]
RUNBOOKS = (REPOSITORY / "docs" / "runbooks.md").read_text(encoding="utf-8")


def test_the_tools_of_prometheus_find_no_fault_with_rules_and_settings() -> None:
    rules = [str(path) for path in sorted((PROMETHEUS / "rules").glob("*.yml"))]
    tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", *rules)
    tool("promtool", "check", "config", "--lint=all", "--lint-fatal", str(PROMETHEUS / "prometheus.yml"))
    tool("amtool", "check-config", str(PROMETHEUS / "alertmanager.yml"))


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_every_rule_fires_when_it_must_and_is_silent_when_it_must(path: Path) -> None:
    tool("promtool", "test", "rules", str(path))


def test_each_alert_is_seen_both_firing_and_silent_by_the_tests_of_the_rules() -> None:
    seen: defaultdict[str, set[bool]] = defaultdict(set)
    for path in RULE_TESTS:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for case in test["alert_rule_test"]:
                seen[case["alertname"]].add(bool(case["exp_alerts"]))

    assert dict(seen) == {rule["alert"]: {True, False} for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_saw_and_what_to_do(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert notes.keys() == {"summary", "description", "runbook_url"}
    assert "{{" in notes["description"]  # the figure
    page, _, anchor = notes["runbook_url"].partition("#")
    assert page == "docs/runbooks.md"
    assert f"## {rule['alert']}\n" in RUNBOOKS
    assert anchor == rule["alert"].lower()


def test_the_runbooks_tell_of_every_alert_and_of_commands_that_exist() -> None:
    assert re.findall(r"(?m)^## (Upkeep\w+)$", RUNBOOKS) == [rule["alert"] for rule in ALERTS]
    for section in re.split(r"(?m)^## Upkeep", RUNBOOKS)[1:]:
        assert all(f"**{part}**" in section for part in ("It means", "Look closer", "Do")), section[:40]
    commands = get_command(build_app()).commands  # type: ignore[attr-defined]
    for reported in sorted(set(re.findall(r"`(upkeep [a-z][^`]*)`", RUNBOOKS))):
        name, *rest = shlex.split(reported)[1:]
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in rest if word.startswith("-")} <= options, reported
