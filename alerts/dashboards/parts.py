"""What the dashboards are made of: queries, panels with a unit, a description and a remedy, variables, links.

A panel that says nothing about what to do when it is red cannot be built: `says`, `red` and `unit` have no default.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    dashboard,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import common as commons
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

DATABASE = models.DataSourceRef(type_val="postgres", uid="scad-timescaledb")
PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="scad-prometheus")

WIDTH = 24  # Grafana's grid
HEIGHT = 8

AnyPanel = timeseries.Panel | stat.Panel | table.Panel | bargauge.Panel | barchart.Panel
_KINDS: dict[str, type[AnyPanel]] = {
    "timeseries": timeseries.Panel,
    "stat": stat.Panel,
    "table": table.Panel,
    "bargauge": bargauge.Panel,
    "barchart": barchart.Panel,
}


class SqlTarget(Dataquery):
    """One query to Grafana's PostgreSQL data source; the SDK has no type for it."""

    def __init__(self, ref: str, sql: str, shape: str) -> None:
        self.ref, self.sql, self.shape = ref, sql, shape

    def to_json(self) -> dict[str, object]:
        return {
            "refId": self.ref,
            "datasource": DATABASE,
            "editorMode": "code",
            "rawQuery": True,
            "rawSql": self.sql,
            "format": self.shape,
        }


@dataclass(frozen=True, slots=True)
class Sql(Builder[Dataquery]):
    """`shape` is `time_series` (columns time, optional metric, numbers) or `table`."""

    sql: str
    shape: str = "table"
    ref: str = "A"

    def build(self) -> Dataquery:
        return SqlTarget(self.ref, self.sql.strip(), self.shape)


@dataclass(frozen=True, slots=True)
class Prom(Builder[Dataquery]):
    """`legend` may name labels as {{reason}}; `instant` asks for the last value alone."""

    expr: str
    legend: str = ""
    ref: str = "A"
    instant: bool = False

    def build(self) -> Dataquery:
        query = prometheus.Dataquery().expr(self.expr).ref_id(self.ref).datasource(PROMETHEUS)
        query = query.legend_format(self.legend or "__auto")
        return (query.instant() if self.instant else query.range()).build()


Query = Sql | Prom
Steps = Sequence[tuple[float | None, str]]
"""Thresholds: from which value on which colour; the first has None."""
CALM: Steps = ((None, "blue"),)


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `red`: what to do when it is red. `units`: of single columns or series, by name."""

    title: str
    kind: str
    says: str
    red: str
    unit: str
    queries: Sequence[Query]
    steps: Steps = CALM
    width: int = 12
    height: int = HEIGHT
    units: dict[str, str] = field(default_factory=dict)
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By column: title and address of what a click on a cell opens."""
    least: float | None = None
    most: float | None = None

    def build(self) -> AnyPanel:
        if self.kind not in _KINDS:
            raise ValueError(f"panel {self.title!r}: no kind {self.kind!r}; known: {', '.join(_KINDS)}")
        panel = _KINDS[self.kind]()
        panel.title(self.title).description(f"{self.says}\n\n**When it is red:** {self.red}").unit(self.unit)
        panel.datasource(DATABASE if isinstance(self.queries[0], Sql) else PROMETHEUS)
        panel.span(self.width).height(self.height)
        steps = [models.Threshold(value=value, color=color) for value, color in self.steps]
        panel.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
        for query in self.queries:
            panel.with_target(query)
        if self.least is not None:
            panel.min(self.least)
        if self.most is not None:
            panel.max(self.most)
        self._looks(panel)
        for name, properties in self._properties().items():
            values = [models.DynamicConfigValue(id_val=key, value=value) for key, value in properties.items()]
            panel.override_by_name(name, values)
        return panel

    def _looks(self, panel: AnyPanel) -> None:
        if len(self.steps) > 1:
            panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        if isinstance(panel, timeseries.Panel):
            # readings are not joined over a gap: 36 hours without one are a gap for any kind measured daily
            panel.span_nulls(False).fill_opacity(0)
            if len(self.steps) > 1:
                panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
                dashed = common.GraphTresholdsStyleMode.DASHED
                panel.thresholds_style(commons.GraphThresholdsStyleConfig().mode(dashed))
        if isinstance(panel, bargauge.Panel):
            panel.orientation(common.VizOrientation.HORIZONTAL)
        if isinstance(panel, (bargauge.Panel, stat.Panel)) and isinstance(self.queries[0], Sql):
            # one bar or number for each row of a table
            panel.reduce_options(_every_row())

    def _properties(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name, unit in self.units.items():
            found.setdefault(name, {})["unit"] = unit
        for name, more in self.overrides.items():
            found.setdefault(name, {}).update(more)
        for name, (title, url) in self.links.items():
            found.setdefault(name, {})["links"] = [{"title": title, "url": url, "targetBlank": False}]
        return found


def _every_row() -> Builder[common.ReduceDataOptions]:
    return commons.ReduceDataOptions().values(True).calcs(["lastNotNull"]).fields("")


def chosen(name: str, label: str, says: str, sql: str, *, several: bool = False) -> dashboard.QueryVariable:
    """A variable whose values the database lists. `several`: any number of them, and all at first."""
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .description(says)
        .datasource(DATABASE)
        .query(sql)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if several:
        every = models.VariableOption(selected=True, text="All", value="$__all")
        variable = variable.multi(True).include_all(True).current(every)
    return variable


TEAM = "${team:sqlstring}"
PATIENT = "${patient:sqlstring}"
FROM, TO = "$__timeFrom()::timestamptz", "$__timeTo()::timestamptz"
ZONE = "'Europe/Paris'"
"""A day is one of Europe/Paris, as in scad.reading_daily."""


def team_variable() -> dashboard.QueryVariable:
    return chosen(
        "team",
        "Care team",
        "Teams whose patients count.",
        "select care_team from scad.panel_team",
        several=True,
    )


def page_variable(page_url: str) -> dashboard.TextBoxVariable:
    """Where the clinicians' page is: links to it begin with this."""
    return (
        dashboard.TextBoxVariable("page")
        .label("Page")
        .description("Address of the clinicians' page; links lead there.")
        .default_value(page_url)
        .hide(models.VariableHide.HIDE_VARIABLE)
    )


TAG = "scad"


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard. `rows`: headings with their panels."""

    uid: str
    title: str
    says: str
    since: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    variables: Sequence[Builder[models.VariableModel]] = ()
    annotations: Sequence[AlertMarks] = ()
    links: Sequence[tuple[str, str]] = ()
    refresh: str = "1m"

    @property
    def panels(self) -> list[Panel]:
        return [panel for _, panels in self.rows for panel in panels]

    def build(self) -> dict[str, Any]:
        """The dashboard as Grafana's JSON model."""
        board = (
            dashboard.Dashboard(self.title)
            .uid(self.uid)
            .description(self.says)
            .tags([TAG])
            .time(self.since, "now")
            .refresh(self.refresh)
            .timezone("browser")
            .readonly()
            .tooltip(models.DashboardCursorSync.CROSSHAIR)
        )
        for variable in self.variables:
            board.with_variable(variable)
        others = dashboard.DashboardLink("Dashboards").type(models.DashboardLinkType.DASHBOARDS)
        board.link(others.tags([TAG]).as_dropdown(True).include_vars(True).keep_time(True))
        for title, url in self.links:
            board.link(dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url))
        for marks in self.annotations:
            board.annotation(marks)
        number = 0
        for title, panels in self.rows:
            board.with_row(dashboard.Row(title))
            for panel in panels:
                number += 1
                board.with_panel(panel.build().id(number))
        found: dict[str, Any] = _plain(board.build())
        return found


@dataclass(frozen=True, slots=True)
class AlertMarks(Builder[models.AnnotationQuery]):
    """Marks on every time series: a table with time, timeend, text and tags."""

    name: str
    sql: str
    color: str

    def build(self) -> models.AnnotationQuery:
        return _SqlMarks(self)


class _SqlMarks(models.AnnotationQuery):
    """The SDK's annotation has no place for a query to a database."""

    def __init__(self, marks: AlertMarks) -> None:
        super().__init__(name=marks.name, datasource=DATABASE, enable=True, icon_color=marks.color)
        self._query = SqlTarget("Anno", marks.sql.strip(), "table")

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "target": self._query}


def _plain(value: Any) -> Any:
    """The SDK's objects as dicts, lists and scalars, as its JSON encoder writes them."""
    return json.loads(JSONEncoder().encode(value))
