"""The few kinds of panel that the dashboards are made of, and the marks of generations and rollbacks on all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Panel,
    Threshold,
    ThresholdsMode,
)

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")  # provisioning/datasources/prometheus.yml
TAG = "upkeep"

GENERATIONS = "max(changes(upkeep_generation_number[1m])) > 0"
ROLLBACKS = "max(increase(upkeep_rollbacks_total[1m])) > 0"


@dataclass(frozen=True, slots=True)
class Line:
    """One query and what its series are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over time; what the reader should see in it stands in `tells`."""

    title: str
    tells: str
    lines: Sequence[Line]
    unit: str = "short"
    limit: float | None = None  # a line that must not be crossed
    most: float | None = None  # the axis ends here
    width: int = 12

    def panel(self, number: int) -> Builder[Panel]:
        """The time series panel."""
        made = (
            timeseries.Panel()
            .id(number)
            .title(self.title)
            .description(self.tells)
            .datasource(PROMETHEUS)
            .unit(self.unit)
            .height(8)
            .span(self.width)
            .line_width(2)
            .fill_opacity(8)
            .legend(
                common.VizLegendOptions()
                .display_mode(LegendDisplayMode.LIST)
                .placement(LegendPlacement.BOTTOM)
                .show_legend(True)
            )
            .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        )
        if self.most is not None:
            made = made.max(self.most)
        if self.limit is not None:
            steps = [Threshold(value=None, color="transparent"), Threshold(value=self.limit, color="red")]
            made = made.thresholds(
                dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
            ).thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
        for ref, line in zip(_refs(), self.lines, strict=False):
            made = made.with_target(_target(ref, line).range())
        return made


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, now; `bad` is where it turns red (from there up, or down if `low_is_bad`)."""

    title: str
    tells: str
    expr: str
    unit: str = "short"
    bad: float | None = None
    low_is_bad: bool = False
    width: int = 4

    def panel(self, number: int) -> Builder[Panel]:
        """The stat panel."""
        made = (
            stat.Panel()
            .id(number)
            .title(self.title)
            .description(self.tells)
            .datasource(PROMETHEUS)
            .unit(self.unit)
            .height(4)
            .span(self.width)
            .graph_mode(BigValueGraphMode.AREA)
            .color_mode(BigValueColorMode.VALUE)
            .no_value("not known")
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .with_target(_target("A", Line(self.expr)).range())
        )
        if self.bad is not None:
            fine, bad = ("red", "green") if self.low_is_bad else ("green", "red")
            steps = [Threshold(value=None, color=fine), Threshold(value=self.bad, color=bad)]
            made = made.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        return made


@dataclass(frozen=True, slots=True)
class DashboardSection:
    """A heading and the panels under it."""

    title: str
    panels: Sequence[Chart | Figure]


def build(uid: str, title: str, tells: str, sections: Sequence[DashboardSection]) -> dashboard.Dashboard:
    """A dashboard: read-only, since its source is here; it links to the others."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(tells)
        .tags([TAG])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .link(
            dashboard.DashboardLink("Upkeep")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(False)
            .keep_time(True)
        )
        .annotation(_mark("Generations", GENERATIONS, "blue"))
        .annotation(_mark("Rollbacks", ROLLBACKS, "red"))
    )
    number = 0
    for section in sections:
        number += 1
        made = made.with_row(dashboard.Row(section.title).id(number))
        for panel in section.panels:
            number += 1
            made = made.with_panel(panel.panel(number))
    return made


def _mark(name: str, expr: str, color: str) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color(color)
        .expr(expr)
    )


def _target(ref: str, line: Line) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .ref_id(ref)
        .datasource(PROMETHEUS)
        .expr(line.expr)
        .legend_format(line.legend or "__auto")
    )


def _refs() -> Iterator[str]:
    return (chr(letter) for letter in range(ord("A"), ord("Z") + 1))
