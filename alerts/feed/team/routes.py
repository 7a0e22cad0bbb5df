"""The pages of teams: which there are, and one's settings with the history of its changes.

Whoever works in a team reads them; an administrator changes them, for every team. A change is a new version
(scad.service_times) and a line of who did what (scad.access_event).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Depends, Path, Request
from psycopg.types.json import Jsonb
from starlette.responses import RedirectResponse, Response

from alerts import synthetic
from alerts.feed.context import Feed, FeedDep, language_of, permission, render
from alerts.feed.database import Connection
from alerts.feed.formats import Formats
from alerts.feed.roles import allowed
from alerts.feed.team.settings_form import (
    CHANNELS,
    DUE,
    FIELDS,
    HOLIDAYS,
    LANGUAGES,
    SEVERITIES,
    read_settings,
    rows,
    steps_shown,
    values_of,
)
from alerts.feed.team.told import GROUPS, Told, changes, tell
from alerts.feed.texts import Texts
from alerts.feed.viewer import Viewer
from alerts.feed.ward.common import form_of
from alerts.feed.ward.differences import Difference
from alerts.feed.ward.forms import TEXT_MAX, Form, filled
from alerts.feed.ward.transaction import changing
from alerts.service_times import (
    DAYS,
    DEFAULTS,
    ServiceTimes,
    SettingsMovedError,
    Team,
    load_teams_async,
    outside_hours,
    record_service_times,
)
from alerts.store.connection import Connection as Plain
from devices.times import to_datetime

team_settings = APIRouter(include_in_schema=False)

ReadDep = Annotated[Viewer, Depends(permission("team"))]
SetDep = Annotated[Viewer, Depends(permission("set_team"))]
TeamPath = Annotated[str, Path(pattern=r"^[^\x00-\x1f/]{1,128}$")]

VERSIONS_SHOWN = 20
"""Changes in the history; a team's settings change some times a year."""


@dataclass(frozen=True, slots=True)
class Changed:
    """One line of the history."""

    version: int
    at: datetime
    by: str
    reason: str
    differences: list[Difference]


def may_see(viewer: Viewer, care_team: str) -> bool:
    """Whose settings a person is shown: the own team's; every team's who sets them or looks at all."""
    return viewer.sees(care_team) or allowed(viewer.role, "set_team")


@team_settings.get("/teams")
async def teams_page(request: Request, feed: FeedDep, viewer: ReadDep) -> Response:
    """The teams; straight to the settings where there is one."""
    async with feed.database.reading(viewer) as conn:
        found = [team for name, team in (await load_teams_async(conn)).items() if may_see(viewer, name)]
    found = sorted((t for t in found if t.care_team != synthetic.TEAM), key=lambda team: team.name)
    if len(found) == 1:
        return RedirectResponse(f"/teams/{quote(found[0].care_team, safe='')}", 303)
    now = to_datetime(feed.clock.now_ms())
    opens = {team.care_team: outside_hours(team, now) for team in found}
    return render(request, "teams.html", viewer, teams=found, opens=opens)


@team_settings.get("/teams/{team}")
async def team_page(
    request: Request, feed: FeedDep, viewer: ReadDep, team: TeamPath, said: bool = False
) -> Response:
    return await _page(request, feed, viewer, team, None, said=said)


@team_settings.post("/teams/{team}")
async def change_team(request: Request, feed: FeedDep, viewer: SetDep, team: TeamPath) -> Response:
    """A new version; 422 with the form where it cannot be, 409 where somebody was quicker."""
    form = await form_of(request)
    now_ms = feed.clock.now_ms()
    async with feed.database.reading(viewer) as conn:
        found = (await load_teams_async(conn, team)).get(team)
    if found is None:
        return await _page(request, feed, viewer, team, None)
    reason = form.text("reason", most=TEXT_MAX, required=True)
    base = form.whole("base", 0, 999_999)
    wanted = read_settings(form, found.time_zone)
    if wanted is not None and wanted == found.times:
        form.fault("form", "no_change")
    if form.faults or wanted is None or reason is None or base is None:
        return await _page(request, feed, viewer, team, form)
    try:
        await changing(
            feed, viewer, lambda conn: _record(conn, team, wanted, viewer, to_datetime(now_ms), reason, base)
        )
    except SettingsMovedError as error:
        form.fault("form", "settings_moved", version=error.version)
        return await _page(request, feed, viewer, team, form, 409)
    return RedirectResponse(f"/teams/{quote(team, safe='')}?said=true", 303)


def _record(
    conn: Plain, team: str, times: ServiceTimes, viewer: Viewer, at: datetime, reason: str, base: int
) -> None:
    version = record_service_times(conn, team, times, viewer.login, at, reason=reason, base=base)
    conn.execute(
        "insert into scad.access_event (at, actor, event, subject, detail) values (%s, %s, %s, %s, %s)",
        (at, viewer.login, "team-settings", team, Jsonb({"version": version, "reason": reason})),
    )


async def _page(
    request: Request,
    feed: Feed,
    viewer: Viewer,
    care_team: str,
    form: Form | None,
    status: int = 422,
    *,
    said: bool = False,
) -> Response:
    now_ms = feed.clock.now_ms()
    texts = Texts(language_of(request))
    async with feed.database.reading(viewer) as conn:
        team = (await load_teams_async(conn, care_team)).get(care_team)
        if team is None or not may_see(viewer, care_team):
            return render(request, "error.html", viewer, 404, message="error.not_found", refresh=None)
        versions = await _versions(conn, care_team)
    formats = Formats(texts, team.time_zone)
    told = tell(team.times, texts, formats, now_ms)
    shown = filled(texts, values_of(team.times, team.time_zone)) if form is None else form
    return render(
        request,
        "team_settings.html",
        viewer,
        200 if form is None else status,
        team=team,
        groups=[(group, [one for one in told if one.group == group]) for group in GROUPS],
        away=outside_hours(team, to_datetime(now_ms)),
        history=_history(team, versions, texts, formats, now_ms),
        form=shown,
        base=_newest(versions),
        sets=allowed(viewer.role, "set_team"),
        said=said,
        steps=steps_shown(shown),
        rows=rows,
        fields=FIELDS,
        days=DAYS,
        due=DUE,
        severities=SEVERITIES,
        holidays=HOLIDAYS,
        channels=CHANNELS,
        spoken=LANGUAGES,
    )


async def _versions(conn: Connection, care_team: str) -> list[dict[str, Any]]:
    """The last versions, the latest first, with one more: what the oldest shown one changed."""
    result = await conn.execute(
        """
        select s.version, s.document, s.recorded_at, s.reason, coalesce(a.display_name, s.recorded_by) as by
          from scad.service_times s left join scad.account a on a.login = s.recorded_by
         where s.care_team = %s order by s.version desc limit %s""",
        (care_team, VERSIONS_SHOWN + 1),
    )
    return await result.fetchall()


def _newest(versions: list[dict[str, Any]]) -> int:
    return int(versions[0]["version"]) if versions else 0


def _history(
    team: Team, versions: list[dict[str, Any]], texts: Texts, formats: Formats, now_ms: int
) -> list[Changed]:
    """The latest first; the first version of all is compared with the defaults."""
    told: list[list[Told]] = [
        tell(_times(row["document"]), texts, formats, now_ms) for row in reversed(versions)
    ]
    if len(versions) <= VERSIONS_SHOWN:
        told.insert(0, tell(DEFAULTS, texts, formats, now_ms))
    found = changes(told, texts("team.none"))
    return [
        Changed(row["version"], row["recorded_at"], row["by"], row["reason"], differences)
        for row, differences in zip(versions, reversed(found), strict=False)
    ]


def _times(document: dict[str, Any]) -> ServiceTimes:
    """A version that this release cannot read held the defaults (alerts.service_times)."""
    try:
        return msgspec.convert(document, ServiceTimes)
    except msgspec.ValidationError:
        return DEFAULTS
