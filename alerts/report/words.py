"""The report's figures as they are read: one list of rows for HTML and PDF, so that both say the same."""

from __future__ import annotations

from alerts.feed.formats import Formats
from alerts.feed.kinds import unit_of
from alerts.report.collect import AlertLine, Figures, ImplantEvent, Report, Step

KIND_UNIT = ""  # the unit of the figure is that of its kind
UNITS: dict[str, str] = {
    "cv": "%", "tir": "%", "tbr_70": "%", "tbr_54": "%", "tar_180": "%", "tar_250": "%", "gmi": "%",
    "cv_systolic": "%", "ttr": "%", "pnn50": "%", "lbgi": "1", "hbgi": "1", "gri": "1",
    "mean_rr": "ms", "sdnn": "ms", "rmssd": "ms", "mean_heart_rate": "/min", "af_fraction": "share",
}  # fmt: skip
"""Of statistics that are not in the unit of their kind: `1` has none, `share` is a part of one shown in percent."""
SHOWN: dict[str, tuple[str, ...]] = {
    "glucose": ("mean", "gmi", "cv", "tir", "tbr_70", "tbr_54", "tar_180", "tar_250", "gri"),
    "blood-pressure": (
        "mean_systolic", "mean_diastolic", "morning_mean_systolic", "evening_mean_systolic", "max_systolic",
        "max_diastolic", "sd_systolic", "arv_systolic",
    ),
    "body-weight": ("first", "last", "min", "max", "max_gain_1d", "max_gain_3d", "max_gain_7d"),
    "inr": ("ttr",),
    "rr-intervals": ("mean_heart_rate", "sdnn", "rmssd", "af_fraction"),
}  # fmt: skip
"""What a cardiologist reads of each kind, in this order; of a kind that is not here, everything."""


def figure_rows(figures: Figures, formats: Formats) -> list[tuple[str, str]]:
    """(name, value with its unit) of one kind; what could not be computed is a dash."""
    names = SHOWN.get(figures.kind, tuple(figures.statistics))
    rows = [
        (
            formats.texts.term("figure", name),
            figure(name, figures.statistics.get(name), figures.kind, formats),
        )
        for name in names
        if name in figures.statistics
    ]
    return rows + [
        (formats.texts.term("figure", f"episodes_{name}"), "–" if n is None else str(n))
        for name, n in figures.episodes.items()
    ]


def figure(name: str, value: float | None, kind: str, formats: Formats) -> str:
    """One statistic as it is read, in its unit."""
    unit = UNITS.get(name, unit_of(kind))
    if value is None:
        return "–"
    if unit == "share":
        return formats.quantity(100 * value, "%")
    return formats.quantity(value, None if unit == "1" else unit)


def step_text(step: Step, report: Report, formats: Formats) -> str:
    """What somebody did, in a line: when, who, what, with outcome and note."""
    texts = formats.texts
    at_ms = int(step.at.timestamp() * 1000)
    parts = [texts.term("action", step.event)]
    if step.outcome:
        parts.append(texts.term("outcome", step.outcome).lower())
    if step.reason:
        table = "false_reason" if step.event == "false-alert" else "reason"
        parts.append(texts.term(table, step.reason).lower())
    return texts(
        "report.step_noted" if step.note else "report.step",
        at=f"{formats.day(at_ms)} {formats.clock(at_ms)}",
        who=step.who,
        what=", ".join(parts),
        note=step.note,
    )


def implant_row(one: ImplantEvent, formats: Formats) -> tuple[str, str, str, str]:
    """When, what, how often, share of the time; a dash where the implant did not say."""
    at_ms = int(one.at.timestamp() * 1000)
    return (
        f"{formats.day(at_ms)} {formats.clock(at_ms)}",
        formats.texts.term("implant", one.event),
        "–" if one.count is None else formats.number(one.count),
        formats.quantity(one.burden, "%"),
    )


def state_text(line: AlertLine, formats: Formats) -> str:
    """Where the alert stands now."""
    return formats.texts.term("report_state", line.alert.state)


def delay_text(line: AlertLine, formats: Formats) -> str:
    """How long until somebody took note; a dash where nobody has."""
    return "–" if line.minutes is None else span_text(round(line.minutes), formats)


def span_text(minutes: int, formats: Formats) -> str:
    """A time in minutes as it is read: minutes, hours, days."""
    if minutes < 60:
        return formats.texts("due.minutes", n=minutes)
    if minutes < 48 * 60:
        return formats.texts("due.hours", n=minutes // 60, rest=minutes % 60)
    return formats.texts("due.days", n=minutes // 1440, rest=minutes // 60 % 24)


def summary_lines(report: Report, formats: Formats) -> list[str]:
    """What to know before everything else, in sentences."""
    texts = formats.texts
    lines = [
        texts(
            "report.alerts_line",
            high=report.count("high"),
            medium=report.count("medium"),
            low=report.count("low"),
            technical=sum(1 for line in report.alerts if line.alert.class_ == "technical"),
        )
    ]
    noted = sorted(
        line.minutes for line in report.alerts if line.minutes is not None and line.alert.severity == "high"
    )
    if noted:
        median = noted[(len(noted) - 1) // 2]
        lines.append(
            texts(
                "report.noted_line",
                n=len(noted),
                of=report.count("high"),
                span=span_text(round(median), formats),
            )
        )
    if report.outcomes:
        found = ", ".join(f"{texts.term('outcome', name).lower()} ({n})" for name, n in report.outcomes)
        lines.append(texts("report.outcomes_line", outcomes=found))
    done, expected = sum(one.done for one in report.kept), sum(one.expected for one in report.kept)
    if expected:
        lines.append(
            texts(
                "report.kept_line",
                done=done,
                expected=expected,
                share=formats.number(100 * done / expected, "%"),
            )
        )
    red = sum(1 for one in report.sittings if one.red)
    if report.sittings:
        lines.append(texts("report.sittings_line", n=len(report.sittings), red=red))
    if report.truncated:
        lines.append(texts("report.truncated"))
    return lines


def followed_rows(report: Report, formats: Formats) -> list[tuple[str, int, int, int, int]]:
    """By advice: how often it was shown, then followed, in part, not."""
    language = formats.language
    counts: dict[str, list[int]] = {}
    for sitting in report.sittings:
        for one in sitting.advice:
            row = counts.setdefault(one.told.text[language], [0, 0, 0, 0])
            row[0] += 1
            if one.followed in ("yes", "partly", "no"):
                row[("yes", "partly", "no").index(one.followed) + 1] += 1
    ordered = sorted(counts.items(), key=lambda item: -item[1][0])
    return [(text, shown, yes, partly, no) for text, (shown, yes, partly, no) in ordered]
