"""One action on an alert for whoever is logged in: what the pages' forms and the JSON routes share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from alerts.actions import Done, act, act_in_bulk
from alerts.feed import queries
from alerts.feed.context import Feed, ReadingOnlyError
from alerts.feed.database import Connection
from alerts.feed.models import Alert, Conflict
from alerts.feed.viewer import Viewer
from alerts.lifecycle import ActionRequest, Refused
from devices.times import to_datetime

_MINE = """
select a.alert from scad.alert a join scad.patient p using (patient)
 where a.alert = any(%(alerts)s) and (%(all)s or p.care_team = any(%(teams)s))"""
_BEHIND_GLASS = "select from scad.alert where alert = any(%s) and patient = any(%s) limit 1"
_NAMES = "select login, display_name from scad.account where login = any(%s)"


async def perform(feed: Feed, viewer: Viewer, which: UUID, request: ActionRequest) -> Alert | Conflict | None:
    """The alert after the action; why not, with the alert as it is; None when the viewer has no such alert.

    Raises ReadingOnlyError for an alert that the viewer sees through broken glass.
    """
    async with feed.database.writing(viewer) as conn:
        await _to_act_on(conn, viewer, [which])
        at = to_datetime(feed.clock.now_ms())
        result = await act(conn, which, request, viewer.login, at)
        now = await queries.alert(conn, viewer, which)
        names = await display_names(conn, [result])
    count(feed, request, [result])
    if now is None or isinstance(result, Done):
        return now
    return Conflict(
        error=result.refusal,
        by=names.get(result.by or "", result.by),
        at=None if result.at is None else to_datetime(result.at),
        alert=now,
    )


async def perform_in_bulk(
    feed: Feed,
    viewer: Viewer,
    alerts: Sequence[UUID],
    request: ActionRequest,
    versions: Mapping[UUID, int] | None = None,
) -> tuple[dict[UUID, Done | Refused], dict[str, str]]:
    """What became of each alert, in one transaction, and the display names of those who were quicker.

    Raises ReadingOnlyError when one of them is seen through broken glass; then nothing is done.
    """
    async with feed.database.writing(viewer) as conn:
        await _to_act_on(conn, viewer, alerts)
        asked = {"alerts": list(alerts), "all": viewer.sees_all, "teams": list(viewer.teams)}
        found = await conn.execute(_MINE, asked)
        mine = {row["alert"] for row in await found.fetchall()}
        at = to_datetime(feed.clock.now_ms())
        done = await act_in_bulk(
            conn, [which for which in alerts if which in mine], request, viewer.login, at, versions
        )
        names = await display_names(conn, done.values())
    unknown: Done | Refused = Refused(refusal="unknown")
    results = {which: done.get(which, unknown) for which in alerts}
    count(feed, request, results.values())
    return results, names


async def _to_act_on(conn: Connection, viewer: Viewer, alerts: Sequence[UUID]) -> None:
    """The database refuses the change as well (0038_glass.sql), but as if there were no such alert."""
    if viewer.glass:
        found = await conn.execute(_BEHIND_GLASS, (list(alerts), list(viewer.glass)))
        if await found.fetchone() is not None:
            raise ReadingOnlyError


def count(feed: Feed, request: ActionRequest, results: Iterable[Done | Refused]) -> None:
    for result in results:
        outcome = "done" if isinstance(result, Done) else result.refusal
        feed.metrics.actions.labels(request.action, outcome).inc()


async def display_names(conn: Connection, results: Iterable[Done | Refused]) -> dict[str, str]:
    """Display names, by login, of the people whom refusals name; the engine and the clock have none."""
    logins = [result.by for result in results if isinstance(result, Refused) and result.by is not None]
    if not logins:
        return {}
    found = await conn.execute(_NAMES, (logins,))
    return {row["login"]: row["display_name"] for row in await found.fetchall()}
