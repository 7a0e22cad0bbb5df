"""Filters of the queue: the database and Python choose the same rows, and the address keeps them."""

from __future__ import annotations

import asyncio
import re
from itertools import product
from typing import Any

from feed_server import RunningFeed
from made_up_ward import NOW_MS

from alerts.feed import assemble, queue_queries
from alerts.feed.accounts import viewer_of
from alerts.feed.filters import PRESETS, Filter
from devices.times import to_datetime


def test_sql_and_python_choose_the_same_rows(ward: RunningFeed):
    """For every combination: the first page (SQL) has the rows that each changed row's own check (Python) keeps."""
    client = ward.client("infirmiere")
    queue = client.get("/api/queue").json()
    csrf = client.get("/api/session").json()["csrf_token"]
    first, second = (row["alerts"][0] for row in queue["clinical"][:2])
    for alert, action, body in (
        (first, "acknowledge", {}),
        (second, "assign", {"to": "medecin"}),
        (queue["clinical"][3]["alerts"][0], "assign", {"to": "infirmiere"}),
    ):
        answer = client.post(
            f"/api/alerts/{alert['alert']}/{action}", json=body, headers={"X-CSRF-Token": csrf}
        )
        assert answer.status_code == 200, answer.text
    ward.conn.execute("update scad.alert set escalation_level = 1 where alert = %s", (second["alert"],))
    record = ward.conn.execute(
        "select login, display_name, role, care_team from scad.account where login = 'infirmiere'"
    ).fetchone()
    assert record is not None
    viewer = viewer_of(dict(zip(("login", "display_name", "role", "care_team"), record, strict=True)))
    now = to_datetime(NOW_MS)
    patients = [
        name for (name,) in ward.conn.execute("select patient from scad.patient where care_team = 'caen'")
    ]
    chosen = [
        Filter(who=who, severity=severity, measure=measure, overdue=overdue, escalated=escalated)  # type: ignore[arg-type]
        for who, severity, measure, overdue, escalated in product(
            ("", "mine", "unassigned"),
            ("", "high", "medium"),
            ("", "body-weight", "glucose"),
            (False, True),
            (False, True),
        )
    ]

    chosen += [Filter(team="caen"), Filter(team="bayeux"), Filter(team="caen", severity="high")]

    async def compare() -> int:
        seen = set()
        async with asyncio.timeout(60), ward_connection(ward) as conn:
            for one in chosen:
                for section in ("clinical", "technical"):
                    by_sql, _ = await queue_queries.patients(conn, viewer, section, one, now, 100)  # type: ignore[arg-type]
                    rows = await assemble.rows_of(conn, viewer, patients, now, one)
                    by_python = {patient for found, patient in rows if found == section}
                    assert set(by_sql) == by_python, (one, section)
                    orders = [
                        assemble.RowView(section, rows[section, patient], ()).order  # type: ignore[index,arg-type]
                        for patient in by_sql
                    ]
                    assert orders == sorted(orders), (one, section)
                    seen.add(frozenset(by_sql))
        return len(seen)

    assert asyncio.run(compare()) > 8, "the filters make a difference"


def ward_connection(ward: RunningFeed) -> Any:
    import psycopg
    from psycopg.rows import dict_row

    class Opened:
        async def __aenter__(self) -> Any:
            self.conn = await psycopg.AsyncConnection.connect(
                ward.feed.database.dsn, row_factory=dict_row, options="-c timezone=UTC"
            )
            return self.conn

        async def __aexit__(self, *_: object) -> None:
            await self.conn.close()

    return Opened()


def test_a_filter_and_its_address_are_the_same_thing(ward: RunningFeed):
    client = ward.client("infirmiere")
    for name, preset in PRESETS.items():
        page = client.get(preset.query()).text
        current = re.findall(r'<a href="([^"]+)" aria-current="true">', page)
        assert current == [preset.query()], name
    assert Filter(who="mine", overdue=True).query(rows=100) == "/?who=mine&overdue=1&rows=100"
    assert client.get("/?severity=gravest").status_code == 400


def test_the_synthetic_patient_is_in_nobodys_queue(ward: RunningFeed):
    ward.conn.execute("insert into scad.care_team (care_team, name) values ('synthetic', 'x')")
    ward.conn.execute("insert into scad.patient values ('p-synthetic', 'synthetic', now())")
    ward.conn.execute("update scad.alert set patient = 'p-synthetic' where patient = 'p-0000'")
    page = ward.client("audit").get("/").text
    assert "p-0001" in page
    assert "p-synthetic" not in page
