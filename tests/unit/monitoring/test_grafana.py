"""Grafana's files: current, complete, and about metrics that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry
from support.watching_support import MONITORING, REPOSITORY, every_query, every_rule

from monitoring.grafana.build import files
from monitoring.metrics.process_metrics import Metrics
from monitoring.metrics.state_metrics import STATE_METRICS

GRAFANA = MONITORING / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_committed_files_are_what_the_code_makes() -> None:
    made = files()
    assert {path.relative_to(GRAFANA) for path in made} == {
        path.relative_to(GRAFANA) for path in GRAFANA.rglob("*.json")
    }
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: python -m monitoring.grafana.build"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_read_back_by_the_sdk_is_the_same(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    again = json.dumps(Dashboard.from_json(json.loads(text)), cls=JSONEncoder)
    assert json.loads(again) == json.loads(text)  # the SDK drops what it does not know


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_marks_generations_and_rollbacks_and_fits_on_the_grid(path: Path) -> None:
    dashboard = read(path)
    assert dashboard["uid"] == path.stem
    assert [mark["name"] for mark in dashboard["annotations"]["list"]] == ["Generations", "Rollbacks"]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)  # no two panels on one place
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        assert panel["type"] == "row" or (panel["description"] and panel["targets"])


def test_every_metric_is_on_a_panel_or_in_a_rule_and_every_query_is_about_metrics_that_exist() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    known = {metric.name for metric in STATE_METRICS} | {
        family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()
    }
    asked = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for query in every_query()
        for name in re.findall(r"(?<![:\w])upkeep_\w+(?!\w*:)", query)
    }
    assert asked <= known
    # Shown nowhere: the same in another form, or a mere label.
    assert known - asked == {"upkeep_consumer_lag_records", "upkeep_generation_info"}


def test_grafanas_own_rules_are_those_of_prometheus_and_reach_a_contact_point() -> None:
    provisioning = GRAFANA / "provisioning"
    shipped = {rule["alert"]: rule for rule in every_rule() if "alert" in rule}
    (group,) = read(provisioning / "alerting" / "rules.json")["groups"]
    titles = [rule["title"] for rule in group["rules"]]
    assert {"UpkeepEditDrift", "UpkeepLocalityRegression"} <= set(titles)
    for rule in group["rules"]:
        assert rule["data"][0]["model"]["expr"] == shipped[rule["title"]]["expr"]
        assert rule["labels"] == shipped[rule["title"]]["labels"]
        assert rule["annotations"]["__dashboardUid__"] in {path.stem for path in DASHBOARDS}
    contact = yaml.safe_load((provisioning / "alerting" / "contact.yml").read_text(encoding="utf-8"))
    assert contact["policies"][0]["receiver"] in {point["name"] for point in contact["contactPoints"]}
    (hook,) = contact["contactPoints"][0]["receivers"]
    variable = re.fullmatch(r"\$\{(\w+)\}", hook["settings"]["url"])
    compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))
    assert variable is not None
    assert variable[1] in compose["services"]["grafana"]["environment"]


def test_the_data_source_is_the_one_that_every_panel_asks() -> None:
    sources = yaml.safe_load(
        (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text(encoding="utf-8")
    )
    (source,) = sources["datasources"]
    for path in DASHBOARDS:
        for panel in read(path)["panels"]:
            for target in panel.get("targets", []):
                assert target["datasource"] == {"type": source["type"], "uid": source["uid"]}
