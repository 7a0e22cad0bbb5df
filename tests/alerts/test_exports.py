"""What leaves the platform: new names for each project, nobody who objects, and a month's use counted right."""

from __future__ import annotations

import base64
import csv
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from alerts.exports.objections import objecting, record_objection
from alerts.exports.pseudonyms import ExportError, Pseudonyms, read_key
from alerts.exports.research import export_research
from alerts.exports.usage import as_csv, month_of, usage
from alerts.store import write_readings
from alerts.store.connection import Connection
from devices.readings import Reading
from devices.times import format_instant, from_datetime, to_datetime
from streams.plans import PlanVersion, Schedule
from streams.protocols import load_published

DAY = 86_400_000
NOON = from_datetime(datetime(2026, 11, 22, 11, tzinfo=UTC))
NOW = to_datetime(NOON + 3_600_000)
BEGIN, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
KEY = bytes(range(32))
FIRST = Pseudonyms("copd-2027", KEY)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@pytest.fixture
def two(store: Connection) -> Connection:
    """Two patients with a weight each day of November up to now; the first with an alert that was seen."""
    store.execute("insert into scad.care_team (care_team, name) values ('caen', 'Caen')")
    for place, patient in enumerate(("p-one", "p-two")):
        device = f"sc-{place}"
        store.execute(
            "insert into scad.patient values (%s, 'caen', %s)", (patient, to_datetime(NOON - 60 * DAY))
        )
        store.execute(
            "insert into scad.device values (%s, 'Scale', %s)", (device, to_datetime(NOON - 60 * DAY))
        )
        plan = PlanVersion(
            version=1,
            from_=format_instant(NOON - 11 * DAY),
            protocols=("heart-failure",),
            schedule={"body-weight": Schedule(every_hours=24)},
        )
        store.execute(
            "insert into scad.care_plan (patient, version, from_at, document, recorded_at) values (%s, 1, %s, %s, %s)",
            (patient, to_datetime(NOON - 11 * DAY), Jsonb(msgspec.to_builtins(plan)), NOW),
        )
        readings = [
            Reading(
                device=device,
                seq=n + 1,
                kind="body-weight",
                measured_at_ms=NOON - n * DAY - 4 * 3_600_000,
                received_at_ms=NOON - n * DAY - 4 * 3_600_000,
                values={"weight": 80.0 + n / 10},
                patient=patient,
                marks=("contact-lost",) if n == 3 else (),
            )
            for n in range(20)
            if n not in (5, 6)
        ]
        write_readings(store, readings, NOON)
    alert = """
        insert into scad.alert (alert, patient, protocol, protocol_version, rule, class, severity, peak_severity,
               condition, opened_at, last_at, late, explanation, evidence, first_n, last_n, raised_stored_at,
               changed_at, state, acknowledged_by, acknowledged_at)
        values (gen_random_uuid(), 'p-one', 'heart-failure', '2026.1', %(rule)s, %(class)s, 'high', 'high', 'raised',
               %(at)s, %(at)s, false, '{}', '[]', 1, 1, %(at)s, %(at)s, %(state)s, %(by)s, %(seen)s)"""
    at = to_datetime(NOON - DAY)
    for rule, sort, by in (("weight-gain-3d", "clinical", "infirmiere"), ("no-reading", "technical", None)):
        state = "open" if by is None else "acknowledged"
        values = {"rule": rule, "class": sort, "at": at, "by": by, "seen": at if by else None, "state": state}
        store.execute(alert, values)
    return store


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


@given(NAMES, NAMES)
def test_a_name_says_nothing_is_the_same_again_and_differs_between_projects_and_keys(one: str, other: str):
    second, foreign = Pseudonyms("hf-2027", KEY), Pseudonyms("copd-2027", bytes(32))
    mine = FIRST.name("patient", one)
    assert mine == FIRST.name("patient", one)
    assert (mine == FIRST.name("patient", other)) == (one == other)
    assert (
        len({mine, second.name("patient", one), foreign.name("patient", one), FIRST.name("device", one)}) == 4
    )
    assert FIRST.shift_ms(one) % (7 * DAY) == 0
    assert 0 <= FIRST.shift_ms(one) < 364 * DAY


def test_the_export_has_the_readings_under_new_names_and_nothing_that_points_back(
    two: Connection, tmp_path: Path
):
    done = export_research(two, FIRST, tmp_path / "a", BEGIN, END, NOW)
    assert (done.patients, done.readings, done.alerts, done.objecting) == (2, 36, 2, 0)
    whole = b"".join(path.read_bytes() for path in (tmp_path / "a").iterdir())
    rows = [row for name in ("patients", "readings", "alerts") for row in table(tmp_path / "a", name)]
    ids = [str(one) for (one,) in two.execute("select alert from scad.alert").fetchall()]
    for secret in ("p-one", "p-two", "sc-0", "sc-1", "infirmiere", *ids):
        assert secret.encode() not in whole
        assert secret not in str(rows)
    mine = [
        row for row in table(tmp_path / "a", "readings") if row["patient"] == FIRST.name("patient", "p-one")
    ]
    moved = timedelta(milliseconds=FIRST.shift_ms("p-one"))
    stored = two.execute(
        "select measured_at, value from scad.reading where patient = 'p-one' order by measured_at"
    ).fetchall()
    assert [(row["measured_at"] + moved, row["value"]) for row in mine] == stored
    second = export_research(two, Pseudonyms("hf-2027", KEY), tmp_path / "b", BEGIN, END, NOW)
    assert second.readings == done.readings
    names = [{row["patient"] for row in table(tmp_path / where, "patients")} for where in ("a", "b")]
    assert names[0].isdisjoint(names[1])
    logged = two.execute(
        "select subject, detail ->> 'readings' from scad.access_event order by id"
    ).fetchall()
    assert logged == [("copd-2027", "36"), ("hf-2027", "36")]


def test_who_objects_is_in_no_table_until_the_objection_is_withdrawn(two: Connection, tmp_path: Path):
    assert record_objection(two, "p-one", True, "infirmiere", NOW)
    assert not record_objection(two, "p-one", True, "infirmiere", NOW)
    assert objecting(two, "p-one")
    done = export_research(two, FIRST, tmp_path / "a", BEGIN, END, NOW)
    assert (done.patients, done.readings, done.alerts, done.objecting) == (1, 18, 0, 1)
    for name in ("patients", "readings", "alerts"):
        assert FIRST.name("patient", "p-one") not in {row["patient"] for row in table(tmp_path / "a", name)}
    assert record_objection(two, "p-one", False, "infirmiere", NOW)
    assert export_research(two, FIRST, tmp_path / "b", BEGIN, END, NOW).patients == 2
    with pytest.raises(ExportError, match="no patient 'p-nobody'"):
        record_objection(two, "p-nobody", True, "infirmiere", NOW)


def test_what_cannot_be_exported_is_said_with_its_remedy(store: Connection, tmp_path: Path):
    key = tmp_path / "key"
    for content, fault in (
        ("%", "not base64"),
        (base64.b64encode(bytes(31)).decode(), "31 bytes; 32 at least"),
    ):
        key.write_text(content)
        with pytest.raises(ExportError, match=fault):
            read_key(key)
    with pytest.raises(ExportError, match="No such file"):
        read_key(tmp_path / "none")
    key.write_text(base64.b64encode(KEY).decode() + "\n")
    assert read_key(key) == KEY
    with pytest.raises(ExportError, match="small letters"):
        Pseudonyms("Cöpd 2027", KEY)
    with pytest.raises(ExportError, match="there already"):
        export_research(store, FIRST, tmp_path, BEGIN, END, NOW)
    with pytest.raises(ExportError, match="before it begins"):
        export_research(store, FIRST, tmp_path / "x", END, BEGIN, NOW)
    with pytest.raises(ExportError, match="'2026-13' is not like 2026-11"):
        month_of("2026-13")


def test_a_months_use_is_counted_by_local_days_of_the_plan(two: Connection):
    two.execute(
        "insert into scad.absence (patient, from_at, to_at, kind, note, recorded_by, recorded_at)"
        " values ('p-one', %s, %s, 'hospital', '', 'infirmiere', %s)",
        (to_datetime(NOON - 6 * DAY), to_datetime(NOON - 5 * DAY), NOW),
    )
    lines = usage(two, "2026-11", load_published(), NOW)
    assert [(line.patient, line.protocol) for line in lines] == [
        ("p-one", "heart-failure"),
        ("p-two", "heart-failure"),
    ]
    one = lines[0]
    # the plan holds from the 11th to the 22nd; the 16th and 17th have no weight, that of the 19th was set aside
    assert (one.days_followed, one.days_with_reading, one.readings) == (12, 9, 9)
    assert (one.done, one.expected) == (9, 12)
    assert (one.alerts_clinical, one.alerts_no_reading, one.alerts_technical, one.alerts_seen) == (1, 1, 0, 1)
    assert one.absent_days == 2
    assert (lines[1].alerts_clinical, lines[1].absent_days) == (0, 0)
    rows = list(csv.DictReader(StringIO(as_csv(lines))))
    assert [row["patient"] for row in rows] == ["p-one", "p-two"]
    assert rows[0]["month"] == "2026-11"
    assert usage(two, "2026-12", load_published(), NOW) == []
    assert usage(two, "2026-10", load_published(), NOW) == []
    assert month_of("2028-02") == (date(2028, 2, 1), date(2028, 2, 29))
