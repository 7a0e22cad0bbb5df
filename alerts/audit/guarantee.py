"""The human guarantee (code de la santé publique, L. 4001-3): what people made of each rule's alerts, reviewed by
people; and the sheet that tells patients of it."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from psycopg.types.json import Jsonb
from starlette.responses import RedirectResponse, Response

from alerts import synthetic
from alerts.audit import watch
from alerts.feed import queries
from alerts.feed.api import MissingError
from alerts.feed.context import FeedDep, SeeingDep, SessionDep, permission, render
from alerts.feed.database import Connection
from alerts.feed.viewer import Viewer
from alerts.feed.ward.common import PatientPath
from devices.times import to_datetime

guarantee = APIRouter(include_in_schema=False)
PhysicianDep = Annotated[Viewer, Depends(permission("confirm"))]

PERIODS = (30, 90, 365)
Decision = Literal["keep", "limits", "rule", "technique", "stop"]
DECISIONS: tuple[Decision, ...] = ("keep", "limits", "rule", "technique", "stop")
NOTE_MAX = 1000
REVIEWS_SHOWN = 5  # of one rule; older ones are in the table
# Beyond this share of alerts that people overrode, a rule stands on top of the page. No threshold of the law's.
MANY = 0.3

_FIGURES = """
select p.care_team, a.protocol, a.rule, count(*) as alerts,
       count(*) filter (where a.closed_at is not null) as judged,
       count(*) filter (where a.false_reason is not null) as false,
       count(*) filter (where a.outcome = 'no-action') as no_action,
       count(*) filter (where a.close_reason is not null and a.false_reason is null) as overridden,
       count(*) filter (where a.false_reason is not null or a.outcome = 'no-action'
                           or a.close_reason is not null) as against,
       count(*) filter (where a.state = 'cleared' and a.closed_at is null) as ended,
       percentile_cont(0.5) within group (order by extract(epoch from a.acknowledged_at - a.raised_stored_at))
           filter (where a.acknowledged_at is not null) as acknowledged_s
  from scad.alert a join scad.patient p using (patient)
 where a.opened_at >= %(from)s and a.opened_at < %(to)s and a.state <> 'superseded'
   and p.care_team <> %(synthetic)s and (%(all)s or p.care_team = any(%(teams)s))
 group by p.care_team, a.protocol, a.rule"""

_REASONS = """
select p.care_team, a.protocol, a.rule, a.false_reason as reason, count(*) as n
  from scad.alert a join scad.patient p using (patient)
 where a.opened_at >= %(from)s and a.opened_at < %(to)s and a.false_reason is not null
   and p.care_team <> %(synthetic)s and (%(all)s or p.care_team = any(%(teams)s))
 group by p.care_team, a.protocol, a.rule, a.false_reason order by n desc, reason"""


async def figures(
    conn: Connection, viewer: Viewer, begin: datetime, end: datetime
) -> dict[tuple[str, str, str], dict[str, Any]]:
    """By (team, protocol, rule): how many alerts opened in the period, and what people made of them."""
    about = {
        "from": begin, "to": end, "synthetic": synthetic.TEAM, "all": viewer.sees_all,
        "teams": list(viewer.teams),
    }  # fmt: skip
    reasons: dict[tuple[str, str, str], list[tuple[str, int]]] = defaultdict(list)
    for row in await (await conn.execute(_REASONS, about)).fetchall():
        reasons[row["care_team"], row["protocol"], row["rule"]].append((row["reason"], row["n"]))
    found = {}
    for row in await (await conn.execute(_FIGURES, about)).fetchall():
        key = (row["care_team"], row["protocol"], row["rule"])
        share = row["against"] / row["judged"] if row["judged"] else None
        found[key] = {**row, "reasons": reasons[key], "share": share}
    return found


@guarantee.get("/review")
async def review_page(
    request: Request, feed: FeedDep, viewer: SeeingDep, days: Annotated[int, Query(ge=1, le=366)] = 90
) -> Response:
    """Every rule that had an alert in the period, those that people overrode most on top."""
    return await _page(request, feed, viewer, days)


async def _page(
    request: Request, feed: FeedDep, viewer: Viewer, days: int, status: int = 200, problem: str = ""
) -> Response:
    end = to_datetime(feed.clock.now_ms())
    async with feed.database.reading(viewer) as conn:
        found = await figures(conn, viewer, end - timedelta(days=days), end)
        reviews = await (
            await conn.execute(
                "select r.*, a.display_name from scad.rule_review r left join scad.account a on a.login = r.reviewed_by"
                " order by r.reviewed_at desc"
            )
        ).fetchall()
    past: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for review in reviews:
        past[review["care_team"], review["protocol"], review["rule"]].append(review)
    rules = [{**row, "reviews": past[key][:REVIEWS_SHOWN]} for key, row in found.items()]
    rules.sort(key=lambda row: (-(row["share"] or 0), -row["alerts"], row["protocol"], row["rule"]))
    return render(
        request, "review.html", viewer, status, rules=rules, days=days, periods=PERIODS, many=MANY,
        decisions=DECISIONS, problem=problem, note_max=NOTE_MAX,
    )  # fmt: skip


@guarantee.post("/review")
async def review(
    request: Request,
    feed: FeedDep,
    viewer: PhysicianDep,
    care_team: Annotated[str, Form(max_length=64, pattern=r"^[^\x00]*$")] = "",
    protocol: Annotated[str, Form(max_length=64, pattern=r"^[^\x00]*$")] = "",
    rule: Annotated[str, Form(max_length=64, pattern=r"^[^\x00]*$")] = "",
    decision: Annotated[str, Form(max_length=20)] = "",
    note: Annotated[str, Form(max_length=NOTE_MAX, pattern=r"^[^\x00]*$")] = "",
    days: Annotated[int, Form(ge=1, le=366)] = 90,
) -> Response:
    """Record what a physician concluded, with the figures of the period as they are now."""
    end = to_datetime(feed.clock.now_ms())
    begin = end - timedelta(days=days)
    async with feed.database.writing(viewer) as conn:
        row = (await figures(conn, viewer, begin, end)).get((care_team, protocol, rule))
        fault = (
            "review.no_note"
            if not note.strip()
            else "review.no_decision"
            if decision not in DECISIONS
            else ""
        )
        if row is not None and not fault:
            names = ("alerts", "judged", "false", "no_action", "overridden", "ended", "reasons")
            await conn.execute(
                "insert into scad.rule_review (care_team, protocol, rule, from_at, to_at, figures, decision, note,"
                " reviewed_by, reviewed_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (care_team, protocol, rule, begin, end, Jsonb({name: row[name] for name in names}), decision,
                 note.strip(), viewer.login, feed.wall_now()),
            )  # fmt: skip
    if row is None:
        raise MissingError("rule")
    if fault:
        return await _page(request, feed, viewer, days, 422, fault)
    watch.says(did="rule-reviewed", about=f"{protocol} {rule}")
    return RedirectResponse(f"/review?days={days}", 303)


@guarantee.get("/information")
async def sheet(request: Request, viewer: SessionDep) -> Response:
    """The sheet for patients, without a name."""
    return render(request, "information.html", viewer, person=None)


@guarantee.get("/patients/{patient}/information")
async def sheet_of(request: Request, feed: FeedDep, viewer: SeeingDep, patient: PatientPath) -> Response:
    """The sheet for one patient, with the team that follows them."""
    async with feed.database.reading(viewer) as conn:
        person = (await queries.persons(conn, viewer, [patient])).get(patient)
    if person is None:
        raise MissingError("patient")
    return render(request, "information.html", viewer, person=person)
