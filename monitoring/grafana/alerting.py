"""Grafana-managed alert rules about the model's quality, for those who are told by Grafana and not by Alertmanager."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.builders import alerting, expr, prometheus
from grafana_foundation_sdk.models.alerting import RelativeTimeRange
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from monitoring.grafana.panels import PROMETHEUS

RULES = Path(__file__).resolve().parents[1] / "prometheus" / "rules" / "alerts.yml"
EXPRESSIONS = DataSourceRef(type_val="__expr__", uid="__expr__")
GROUP = "upkeep-quality"
FOLDER = "Upkeep"
# What provisioning files say about the group, not about each rule.
_OF_THE_GROUP = ("folderUID", "orgID", "ruleGroup")


@dataclass(frozen=True, slots=True)
class _Promoted:
    """One alert of the rules for Prometheus, and how Grafana tells of it."""

    alert: str
    uid: str
    description: str


PROMOTED = (
    _Promoted(
        "UpkeepLocalityRegression",
        "upkeep-locality-regression",
        "A check of suite {{ $labels.suite }} has failed, the newest one or one within 10 minutes.",
    ),
    _Promoted(
        "UpkeepEditDrift",
        "upkeep-edit-drift",
        "A check of the live edits has failed, the newest one or one within 10 minutes.",
    ),
    _Promoted(
        "UpkeepScoreDrift",
        "upkeep-score-drift",
        "The drift statistic of suite {{ $labels.suite }} is over its threshold.",
    ),
    _Promoted(
        "UpkeepStaleAnswers",
        "upkeep-stale-answers",
        "{{ humanizePercentage $values.A.Value }} of the sampled live edits answer with an outdated value.",
    ),
)


def provisioning() -> dict[str, Any]:
    """The content of provisioning/alerting/rules.json: one group, with the expressions of the rules for Prometheus."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    shipped = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    rules = [_rule(promoted, shipped[promoted.alert]).build().to_json() for promoted in PROMOTED]
    return {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": GROUP,
                "folder": FOLDER,
                "interval": "1m",
                "rules": [
                    {key: value for key, value in rule.items() if key not in _OF_THE_GROUP} for rule in rules
                ],
            }
        ],
    }


def _rule(promoted: _Promoted, shipped: dict[str, Any]) -> alerting.Rule:
    """A query that has samples only while something is wrong; so any number is an alert, and no data is well."""
    over_nothing = expr.ExprTypeThresholdConditionsEvaluator().type("gt").params([0])
    condition = expr.ExprTypeThresholdConditions().evaluator(over_nothing)
    return (
        alerting.Rule(promoted.alert)
        .uid(promoted.uid)
        .for_val(shipped.get("for", "0s"))
        .condition("C")
        .with_query(
            _query("A", PROMETHEUS).model(
                prometheus.Dataquery().ref_id("A").datasource(PROMETHEUS).expr(shipped["expr"]).instant()
            )
        )
        .with_query(
            _query("B", EXPRESSIONS).model(
                expr.TypeMath()
                .ref_id("B")
                .datasource(EXPRESSIONS)
                .expression("is_number($A) || is_nan($A) || is_inf($A)")
            )
        )
        .with_query(
            _query("C", EXPRESSIONS).model(
                expr.TypeThreshold()
                .ref_id("C")
                .datasource(EXPRESSIONS)
                .expression("B")
                .conditions([condition])
            )
        )
        .no_data_state("OK")
        .exec_err_state("Error")
        .labels(dict(shipped["labels"]))
        .annotations(
            {
                "summary": shipped["annotations"]["summary"],
                "description": promoted.description,
                "runbook_url": shipped["annotations"]["runbook_url"],
                "__dashboardUid__": "upkeep-locality",
            }
        )
    )


def _query(ref: str, source: DataSourceRef) -> alerting.Query:
    return (
        alerting.Query(ref)
        .datasource_uid(source.uid or "")
        .relative_time_range(RelativeTimeRange(from_val=600, to=0))
    )
