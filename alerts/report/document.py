"""The report as one HTML file that needs nothing beside it, and what both HTML forms are filled with."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from markupsafe import Markup

from alerts.feed.context import make_templates
from alerts.feed.curves import LARGE, draw
from alerts.feed.formats import Formats
from alerts.feed.ward.plans import library
from alerts.report.collect import Report
from alerts.report.head import head_of
from alerts.report.pdf import absences_text
from alerts.report.words import (
    delay_text,
    figure_rows,
    followed_rows,
    implant_row,
    state_text,
    step_text,
    summary_lines,
)


def versions_of(report: Report) -> str:
    """The protocols of the plan, and of the alerts, with the versions that were in force."""
    found = {f"{line.alert.protocol} {line.alert.protocol_version}" for line in report.alerts}
    known = library().protocols
    found |= {
        f"{name} {known[name].version}"
        for name in (report.plan.protocols if report.plan is not None else ())
        if name in known
    }
    return ", ".join(sorted(found)) or "–"


def html_values(report: Report, formats: Formats) -> dict[str, Any]:
    """What the template says, in words."""
    return {
        "report": report,
        "head": head_of(report, formats),
        "lines": summary_lines(report, formats),
        "figures": [(one, figure_rows(one, formats)) for one in report.figures],
        "alerts": [
            (
                line,
                [step_text(step, report, formats) for step in line.steps],
                delay_text(line, formats),
                state_text(line, formats),
            )
            for line in report.alerts
        ],
        "implants": [implant_row(one, formats) for one in report.implants],
        "followed": followed_rows(report, formats),
        "absences": absences_text(report, formats) if report.absences else "",
        "versions": versions_of(report),
    }


def make_html(report: Report, formats: Formats) -> str:
    """The report as a whole document with its style inside, to be kept or sent."""
    style = files("alerts.feed").joinpath("static", "report.css").read_text(encoding="utf-8")
    return (
        make_templates()
        .get_template("report.html")
        .render(
            t=formats.texts,
            language=formats.language,
            f=formats,
            person=report.person,
            alone=True,
            style=Markup(style),  # noqa: S704 - our own file
            large=LARGE,
            picture=draw,
            **html_values(report, formats),
        )
    )
