"""The words at the top of a report: who, when, which plan."""

from __future__ import annotations

from dataclasses import dataclass

from alerts.feed.formats import Formats, years
from alerts.feed.ward.differences import differences
from alerts.feed.ward.plans import library
from alerts.report.collect import Report
from devices.times import from_datetime


@dataclass(frozen=True, slots=True)
class Head:
    """What stands above everything else, ready to be read."""

    title: str
    name: str
    facts: str
    period: str
    made: str
    team: str
    plan: str
    limits: tuple[tuple[str, str], ...]
    """What is personal in the plan: (what, value)."""


def head_of(report: Report, formats: Formats) -> Head:
    """The head in the reader's language."""
    texts, person = formats.texts, report.person
    now_ms = from_datetime(report.made_at)
    known = [
        (person.family_name or "").upper(),
        person.given_names,
    ]  # which is the family's name must be plain
    name = " ".join(part for part in known if part) or texts("report.file", patient=person.patient)
    facts = [texts(f"report.{person.sex}")]
    if person.birth_date is not None:
        facts.insert(0, texts(f"report.born_{person.sex}", date=formats.date(person.birth_date)))
        facts.append(texts("patient.age", n=years(person.birth_date, now_ms)))
    facts.append(texts("report.file", patient=person.patient))
    return Head(
        texts("report.title"),
        name,
        " · ".join(facts),
        texts(
            "report.period",
            first=formats.date(report.first),
            last=formats.date(report.last),
            days=report.days,
        ),
        texts("report.made", at=f"{formats.day(now_ms)} {report.made_at.year} {formats.clock(now_ms)}"),
        texts("report.team", team=person.team_name),
        _plan(report, formats),
        _limits(report, formats),
    )


def _plan(report: Report, formats: Formats) -> str:
    texts = formats.texts
    if report.plan is None or report.plan_from is None:
        return texts("report.no_plan")
    from_ms = from_datetime(report.plan_from)
    return texts(
        "report.plan_line",
        protocols=", ".join(texts.term("protocol", name) for name in report.plan.protocols),
        n=report.plan_number,
        date=f"{formats.day(from_ms)} {report.plan_from.year}",
        author=f" · {report.author}" if report.author else "",
    )


def _limits(report: Report, formats: Formats) -> tuple[tuple[str, str], ...]:
    """Everything of the plan that is not as its protocols publish it."""
    if report.plan is None:
        return ()
    on = formats.texts("plan.on")
    rows = differences(None, report.plan, library(), formats)
    return tuple((row.what, row.after) for row in rows if not (row.protocol and row.after == on))
