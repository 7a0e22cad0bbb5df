"""The ward with what people, devices and refusals add to it, and a connection as the role `grafana`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from made_up_ward import DAY, HOUR, NOW_MS
from psycopg.types.json import Jsonb

from alerts.store import write_readings
from devices.readings import Reading
from devices.times import format_instant, to_datetime
from scad.services import Postgres

GRANTS = (Path(__file__).parents[3] / "deploy/grafana/grants.sql").read_text()
NOW = to_datetime(NOW_MS)
PRESSURE, WEIGHT = "p-0007", "p-0000"
LATE = "p-0002"
DRAWN = (PRESSURE, WEIGHT, LATE)
AWAY, TESTED = "p-0003", "p-0010"
"""In hospital for most of the days without a weight; and one whose INR is tested each week."""
SERVICE = {"high": timedelta(minutes=30), "medium": timedelta(days=1), "low": timedelta(days=5)}
"""The defaults, but by the clock of the wall."""


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
    earlier_weeks(conn)
    new_version(conn)
    judge(conn)
    hold_back(conn)
    second_plans(conn)
    inr(conn)
    missed(conn)
    absences(conn)
    fleet(conn)
    refusals(conn)
    conn.execute("insert into scad.care_team (care_team, name) values ('synthetic', 'Synthetic reading')")
    conn.execute("insert into scad.patient values ('p-synthetic', 'synthetic', %s)", [NOW])
    conn.execute("analyze")


def earlier_weeks(conn: psycopg.Connection[Any]) -> None:
    """What rang today rang in the three weeks before as well, at other hours, and is over; every fourth was low. Not
    of the patients whose curves are drawn: no reading would fit."""
    conn.execute(
        """
        insert into scad.alert
        select (jsonb_populate_record(null::scad.alert, to_jsonb(a) || jsonb_build_object(
                    'alert', md5(a.alert::text || week)::uuid, 'state', 'cleared', 'condition', 'cleared',
                    'severity', to_jsonb(s.severity), 'peak_severity', to_jsonb(s.severity),
                    'opened_at', a.opened_at - ago, 'last_at', a.last_at - ago,
                    'raised_stored_at', a.raised_stored_at - ago, 'changed_at', a.changed_at - ago,
                    'cleared_at', a.last_at - ago + interval '1 day'))).*
          from (select *, row_number() over (order by raised_stored_at, alert) as number from scad.alert
                 where state <> 'superseded' and class = 'clinical' and patient <> all(%s)) a
         cross join generate_series(1, 3) week
         cross join lateral (select week * interval '7 days' + (a.number * week %% 19) * interval '5 hours' as ago) g
         cross join lateral (
               select case when (a.number + week) %% 4 = 0 then 'low' else a.severity end as severity) s""",
        [list(DRAWN)],
    )


def new_version(conn: psycopg.Connection[Any]) -> None:
    """Every rule has been 2026.2 for a week."""
    conn.execute(
        "update scad.alert set protocol_version = '2026.2' where raised_stored_at > %s",
        [NOW - timedelta(days=7)],
    )


def judge(conn: psycopg.Connection[Any]) -> None:
    """Every alert but each fifth is acknowledged, after a tenth to twice its service time, and two thirds of those
    closed: in turn by an outcome or as false, and of the newer version's fewer as false."""
    rows = conn.execute(
        "select alert, raised_stored_at, condition, severity, protocol_version from scad.alert"
        " where state <> 'superseded' and class = 'clinical' order by raised_stored_at, alert"
    ).fetchall()
    ends = (
        ("resolved", "call-made", None),
        ("false-alert", None, "technique"),
        ("resolved", "no-action", None),
        ("resolved", "unreachable", None),
        ("false-alert", None, "limit-too-tight"),
        ("resolved", "drug-change", None),
    )
    for number, (alert, raised, condition, severity, version) in enumerate(rows):
        conn.execute(
            "update scad.alert set due_at = %s where alert = %s", [raised + SERVICE[severity], alert]
        )
        seen = raised + SERVICE[severity] * ((7 * number % 20 + 2) / 14)
        if number % 5 == 4 or seen > NOW:
            continue
        conn.execute(
            "update scad.alert set acknowledged_by = 'infirmiere', acknowledged_at = %s, acknowledged_severity ="
            " peak_severity, state = case when state = 'open' then 'acknowledged' else state end where alert = %s",
            [seen, alert],
        )
        if number % 3 != 2:
            state, outcome, why = ends[number % len(ends) if version == "2026.1" or number % 4 == 0 else 0]
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
        LATE: {"dry_weight_kg": 79.5},
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


def inr(conn: psycopg.Connection[Any]) -> None:
    """A plan that asks less often than daily, and of three weeks' tests two."""
    begin = NOW_MS - 21 * DAY
    found = conn.execute("select document from scad.care_plan where patient = %s", [TESTED]).fetchone()
    assert found is not None
    document = {**found[0], "version": 2, "from": format_instant(begin)}
    document["protocols"] = [*document["protocols"], "anticoagulation"]
    document["schedule"] = {**document["schedule"], "inr": {"every_hours": 168}}
    conn.execute(
        "insert into scad.care_plan (patient, version, from_at, author, document, recorded_at)"
        " values (%s, 2, %s, 'Dr Paul Hamelin', %s, %s)",
        [TESTED, to_datetime(begin), Jsonb(document), to_datetime(begin)],
    )
    conn.execute("insert into scad.device values ('in-0010', 'INR home', %s)", [to_datetime(begin)])
    conn.execute("insert into scad.assignment values ('in-0010', %s, %s, null)", [TESTED, to_datetime(begin)])
    readings = [
        Reading(
            device="in-0010",
            seq=seq,
            kind="inr",
            measured_at_ms=NOW_MS - days * DAY,
            values={"inr": value},
            offset_min=60,
            received_at_ms=NOW_MS - days * DAY + 2000,
            patient=TESTED,
        )
        for seq, (days, value) in enumerate(((19, 2.4), (12, 2.9)), start=1)
    ]
    write_readings(conn, readings, NOW_MS)


def missed(conn: psycopg.Connection[Any]) -> None:
    """Days without a measurement: four in a row of one patient, every third and every second of two others."""
    for patient, days in ((LATE, [13, 14, 15, 16]), ("p-0005", range(2, 28, 3)), ("p-0008", range(1, 28, 2))):
        for day in days:
            begin = (NOW - timedelta(days=day)).astimezone(ZoneInfo("Europe/Paris")).date()
            conn.execute(
                "delete from scad.reading where patient = %s and (measured_at at time zone 'Europe/Paris')::date = %s",
                [patient, begin],
            )
            conn.execute(
                "delete from scad.reading_daily where patient = %s and (day at time zone 'Europe/Paris')::date = %s",
                [patient, begin],
            )


def absences(conn: psycopg.Connection[Any]) -> None:
    """In hospital since the scale fell silent; two that overlap, during which somebody measures; one ended before it
    began, which is none."""
    for patient, begin, end in (
        (AWAY, 5, -2),
        ("p-0004", 9.9, 9),
        ("p-0004", 9.5, 8),
        (TESTED, 6, 3),
        (PRESSURE, 40, 26),
        (WEIGHT, 3, 3),
    ):
        ended = NOW - timedelta(days=begin) if begin == end else None
        conn.execute(
            "insert into scad.absence (patient, from_at, to_at, kind, note, recorded_by, recorded_at, ended_by,"
            " ended_at) values (%s, %s, %s, 'hospital', 'made up', 'infirmiere', %s, %s, %s)",
            [
                patient,
                NOW - timedelta(days=begin),
                NOW - timedelta(days=end),
                NOW - timedelta(days=45),
                ended and "infirmiere",
                ended,
            ],
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
