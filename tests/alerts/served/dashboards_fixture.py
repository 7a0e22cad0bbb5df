"""The ward with what people, devices and refusals add to it, and a connection as the role `grafana`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from made_up_ward import DAY, HOUR, NOW_MS
from psycopg.types.json import Jsonb

from devices.times import format_instant, to_datetime
from scad.services import Postgres

GRANTS = (Path(__file__).parents[3] / "deploy/grafana/grants.sql").read_text()
NOW = to_datetime(NOW_MS)
PRESSURE, WEIGHT = "p-0007", "p-0000"


def grant(postgres: Postgres, database: str, conn: psycopg.Connection[Any]) -> None:
    """The role as deploy/database-init.sh makes it, and its rights; twice, as after an upgrade."""
    if conn.execute("select from pg_roles where rolname = 'grafana'").fetchone() is None:
        conn.execute("create role grafana nologin")
    conn.execute(GRANTS)  # type: ignore[arg-type]
    conn.execute(GRANTS)  # type: ignore[arg-type]


def as_grafana(postgres: Postgres, database: str) -> psycopg.Connection[Any]:
    """A read-only session of the role itself: no right of a superuser is left in it."""
    conn = psycopg.connect(postgres.dsn_of(database, "postgres"), autocommit=True)
    conn.execute("set session authorization grafana")
    conn.execute("set default_transaction_read_only = on")
    return conn


def add_to_ward(conn: psycopg.Connection[Any]) -> None:
    """Outcomes, a second plan, states of devices, refusals, a wrong clock, and the synthetic reading's patient."""
    judge(conn)
    hold_back(conn)
    second_plans(conn)
    fleet(conn)
    refusals(conn)
    conn.execute("insert into scad.care_team (care_team, name) values ('synthetic', 'Synthetic reading')")
    conn.execute("insert into scad.patient values ('p-synthetic', 'synthetic', %s)", [NOW])
    conn.execute("analyze")


def judge(conn: psycopg.Connection[Any]) -> None:
    """Every alert but each fifth is acknowledged after a while, and each third of those closed in turn by an
    outcome or as false."""
    rows = conn.execute(
        "select alert, raised_stored_at, condition from scad.alert where state <> 'superseded' and class = 'clinical'"
        " order by raised_stored_at, alert"
    ).fetchall()
    ends = (
        ("resolved", "call-made", None),
        ("false-alert", None, "technique"),
        ("resolved", "no-action", None),
        ("resolved", "unreachable", None),
        ("false-alert", None, "limit-too-tight"),
        ("resolved", "drug-change", None),
    )
    for number, (alert, raised, condition) in enumerate(rows):
        due = raised + timedelta(hours=1)
        conn.execute("update scad.alert set due_at = %s where alert = %s", [due, alert])
        if number % 5 == 4:
            continue
        seen = raised + timedelta(minutes=7 * number % 95)
        conn.execute(
            "update scad.alert set acknowledged_by = 'infirmiere', acknowledged_at = %s, acknowledged_severity ="
            " peak_severity, state = case when state = 'open' then 'acknowledged' else state end where alert = %s",
            [seen, alert],
        )
        if number % 3 != 2:
            state, outcome, why = ends[number % len(ends)]
            conn.execute(
                "update scad.alert set state = %s, outcome = %s, false_reason = %s, closed_by = 'infirmiere',"
                " closed_at = %s, closed_severity = peak_severity, closed_condition = %s where alert = %s",
                [state, outcome, why, seen + timedelta(minutes=20), condition, alert],
            )


def hold_back(conn: psycopg.Connection[Any]) -> None:
    """Of every six alerts one was inhibited twice, one is held while its patient is away, one was held and released."""
    rows = conn.execute(
        "select alert, patient, raised_stored_at from scad.alert where state <> 'superseded' and class = 'clinical'"
        " order by raised_stored_at desc, alert"
    ).fetchall()
    told = (("inhibited", "released", "inhibited"), ("suppressed",), ("suppressed", "released"))
    for number, (alert, patient, raised) in enumerate(rows):
        for event in told[number % 6] if number % 6 < len(told) else ():
            conn.execute(
                "insert into scad.alert_event (at, recorded_at, patient, alert, kind, event, actor, body)"
                " values (%s, %s, %s, %s, 'action', %s, 'engine', '{}')",
                [raised, raised, patient, alert, event],
            )
        if number % 6 == 1:
            conn.execute(
                "update scad.alert set suppressed = 'absence', suppressed_until = %s where alert = %s",
                [raised + timedelta(days=3), alert],
            )


def second_plans(conn: psycopg.Connection[Any]) -> None:
    changes: dict[str, dict[str, Any]] = {
        PRESSURE: {"limits": {"hypertension": {"bp-crisis": {"systolic": 165.0}}}},
        WEIGHT: {"dry_weight_kg": 70.0, "limits": {"heart-failure": {"dry-weight": {"high": 2.5}}}},
    }
    for patient, change in changes.items():
        found = conn.execute("select document from scad.care_plan where patient = %s", [patient]).fetchone()
        assert found is not None
        begin = NOW_MS - 10 * DAY
        document = {**found[0], **change, "version": 2, "from": format_instant(begin)}
        conn.execute(
            "insert into scad.care_plan (patient, version, from_at, author, document, recorded_at)"
            " values (%s, 2, %s, 'Dr Paul Hamelin', %s, %s)",
            [patient, to_datetime(begin), Jsonb(document), to_datetime(begin)],
        )


def fleet(conn: psycopg.Connection[Any]) -> None:
    devices = [row[0] for row in conn.execute("select device from scad.device order by device")]
    for number, device in enumerate(devices[:-2]):
        state = "offline" if number % 4 == 3 else "online"
        conn.execute(
            "insert into scad.device_status values (%s, %s, %s, %s, %s)",
            [device, state, (number * 17 + 3) % 101, f"2.{number % 3}", NOW - number * timedelta(hours=9)],
        )
    # one device's clock is two minutes fast
    conn.execute(
        "update scad.reading set received_at = measured_at - interval '2 minutes' where device = %s"
        " and measured_at > %s",
        [devices[3], NOW - timedelta(days=2)],
    )


def refusals(conn: psycopg.Connection[Any]) -> None:
    reasons = ("unknown-device", "not-json", "clock-ahead")
    for number in range(24):
        conn.execute(
            "insert into scad.quarantine (id, device, seq, reason, detail, received_at, raw, state, source_topic,"
            " source_partition, source_offset, stored_at) values (%s, %s, %s, %s, 'made up', %s, 'x', %s,"
            " 'scad.quarantine', 0, %s, %s)",
            [
                f"q{number}",
                f"xx-{number % 5}",
                number,
                reasons[number % 4 % 3],
                to_datetime(NOW_MS - number * 7 * HOUR),
                "resolved" if number % 3 == 1 else "open",
                number,
                NOW,
            ],
        )
