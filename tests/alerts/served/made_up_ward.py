"""A made-up ward: patients whose readings went through the engine and the database's writers.

Everything is a function of the seed and of `now_ms`. The stories are what a nurse's morning has: fluid that
builds up, a pressure that stays high, a scale that was offline and empties its memory, one that says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from random import Random
from typing import Any

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from alerts.feed.accounts import create_account
from alerts.store import write_readings, write_signals
from devices.readings import Reading
from devices.times import format_instant, to_datetime
from streams.engine import Engine
from streams.plans import CarePlan, PlanVersion, Schedule
from streams.protocols import load_published
from streams.signal import AlertSignal, Evidence

HOUR, DAY = 3_600_000, 86_400_000
NOW_MS = int(datetime(2026, 11, 22, 9, 42, tzinfo=UTC).timestamp() * 1000)
PASSWORD = "une nuit sans alerte"
INS_TEST_OID = "1.2.250.1.213.1.4.10"

GIVEN = (
    "Jeanne",
    "Marcel",
    "Odette",
    "André",
    "Simone",
    "Lucien",
    "Yvonne",
    "Henri",
    "Colette",
    "Émile",
    "Agnès",
    "Fernand",
)
FAMILY = ("Lefèvre", "Duquesne", "Marie-Anquetil", "Lecœur", "Vautier", "Hébert", "Delaunay", "Poisson", "Legrand",
          "Auvray", "Lemonnier", "Quesnel", "Tostain", "Girard", "Besnard", "Leroux", "Hamel")  # fmt: skip

HEART, PRESSURE, SUGAR, RHYTHM = "heart-failure", "hypertension", "diabetes", "arrhythmia"
KIND = {HEART: "body-weight", PRESSURE: "blood-pressure", SUGAR: "glucose", RHYTHM: "heart-rate"}
MODEL = {
    "body-weight": "Balance BW-200",
    "blood-pressure": "Tensiomètre BP-7",
    "glucose": "Capteur G-Flow",
    "heart-rate": "Bracelet HR-2",
}

Sample = tuple[int, dict[str, float], int]
"""measured, values, received; milliseconds."""


@dataclass
class Story:
    """One patient: which protocol, and how the measurements run."""

    protocol: str
    course: str
    team: str = "caen"
    samples: list[Sample] = field(default_factory=list)


STORIES = [
    Story(HEART, "gain"), Story(HEART, "gain-slow"), Story(HEART, "late-gain"), Story(HEART, "silent"),
    Story(HEART, "stable"), Story(HEART, "loss"), Story(HEART, "over"), Story(PRESSURE, "crisis"),
    Story(PRESSURE, "high"), Story(PRESSURE, "low"), Story(PRESSURE, "stable"), Story(SUGAR, "low-now"),
    Story(SUGAR, "high"), Story(SUGAR, "stable"), Story(RHYTHM, "fast"), Story(RHYTHM, "stable"),
    Story(HEART, "gain", "bayeux"),
]  # fmt: skip


def weights(course: str, random: Random, now_ms: int) -> Iterator[Sample]:
    base = random.uniform(64, 92)
    morning = now_ms - now_ms % DAY + 6 * HOUR + 30 * 60_000
    for day in range(28, -1, -1):
        at = morning - day * DAY + random.randrange(0, 50 * 60_000)
        weight = base + random.gauss(0, 0.18)
        if course.startswith(("gain", "late", "over")):
            speed = {"gain": 0.62, "gain-slow": 0.35, "late-gain": 0.75, "over": 0.9}[course]
            begin = 9 if course == "over" else 6
            weight += max(begin - day, 0) * speed if not (course == "over" and day < 5) else 0.4
        if course == "loss":
            weight -= max(5 - day, 0) * 0.75
        if (course == "silent" and day < 5) or at > now_ms or (course == "stable" and day in (9, 10)):
            continue
        came = now_ms - 2 * HOUR if course == "late-gain" and 1 <= day <= 4 else at + 4000
        if course == "late-gain" and day == 0:
            continue
        yield at, {"weight": round(weight, 1)}, came


def pressures(course: str, random: Random, now_ms: int) -> Iterator[Sample]:
    morning = now_ms - now_ms % DAY + 7 * HOUR
    for day in range(28, -1, -1):
        for turn in (0, 5 * 60_000, 12 * HOUR):
            at = morning - day * DAY + turn + random.randrange(0, 120_000)
            if at > now_ms - 60_000:
                continue
            high = {"crisis": 151, "high": 144, "low": 112, "stable": 126}[course] + random.gauss(0, 5)
            if course == "crisis" and day == 0:
                high = 186 + turn / 60_000
            if course == "low" and day < 2:
                high -= 27
            low = high * 0.58 + random.gauss(0, 2)
            values = {"systolic": round(high), "diastolic": round(low), "pulse": round(random.gauss(72, 4))}
            yield at, values, at + 3000


def sugars(course: str, random: Random, now_ms: int) -> Iterator[Sample]:
    value, aim = 130.0, 135.0
    for i in range(14 * 288, -1, -1):
        at = now_ms - i * 300_000 - 40_000
        hour = (at // HOUR) % 24
        meal = 45.0 if hour in (8, 13, 20) else 0.0
        aim = 128 + meal
        if course == "low-now" and i < 9:
            aim = 34
        if course == "high" and i < 50:
            aim = 300
        value += (aim - value) * 0.16 + random.gauss(0, 3.2)
        if course == "stable" and 900 < i < 1050:
            continue
        yield at, {"glucose": float(round(min(max(value, 42), 400)))}, at + 2000


def rates(course: str, random: Random, now_ms: int) -> Iterator[Sample]:
    morning = now_ms - now_ms % DAY + 7 * HOUR
    for day in range(28, -1, -1):
        for turn in (0, 9 * HOUR):
            at = morning - day * DAY + turn
            if at > now_ms - 60_000:
                continue
            rate = random.gauss(74, 4) + (
                46 if (course == "fast" and day == 0) or (course == "fast" and day == 1 and turn) else 0
            )
            yield at, {"heart_rate": float(round(rate))}, at + 1000


COURSES = {HEART: weights, PRESSURE: pressures, SUGAR: sugars, RHYTHM: rates}


def enrol(conn: psycopg.Connection[Any], now_ms: int) -> None:
    """Two care teams, and a nurse, a physician, an auditor and an engineer to look at their patients."""
    at = to_datetime(now_ms - 60 * DAY)
    for team, name in (("caen", "Cardiologie Caen"), ("bayeux", "Cardiologie Bayeux")):
        conn.execute("insert into scad.care_team (care_team, name) values (%s, %s)", (team, name))
    for login, name, role, who in (
        ("infirmiere", "Claire Martin", "nurse", "caen"),
        ("medecin", "Dr Paul Hamelin", "physician", "caen"),
        ("bayeux", "Luc Morel", "nurse", "bayeux"),
        ("audit", "Nadia Benali", "auditor", None),
        ("ops", "Service technique", "engineer", None),
    ):
        create_account(conn, login, PASSWORD, role, who, at=at, display_name=name)  # type: ignore[arg-type]


def add_patient(
    conn: psycopg.Connection[Any], patient: str, team: str, index: int, kind: str, now_ms: int
) -> str:
    """A person with one device of this kind; returns the device."""
    begin = to_datetime(now_ms - 45 * DAY)
    conn.execute("insert into scad.patient values (%s, %s, %s)", (patient, team, begin))
    conn.execute(
        "insert into identity.person (patient, family_name, given_names, birth_date, sex, ins, ins_oid, phone)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            patient,
            FAMILY[index % len(FAMILY)],
            GIVEN[index % len(GIVEN)],
            date(1938 + index * 7 % 30, 1 + index * 5 % 12, 1 + index * 11 % 28),
            ("female", "male")[index % 2],
            f"{index:015d}",
            INS_TEST_OID,
            f"02 31 00 {index // 100:02d} {index % 100:02d}",
        ),
    )
    device = f"{kind[:2]}-{index:04d}"
    conn.execute("insert into scad.device values (%s, %s, %s)", (device, MODEL[kind], begin))
    conn.execute("insert into scad.assignment values (%s, %s, %s, null)", (device, patient, begin))
    return device


def fill(conn: psycopg.Connection[Any], now_ms: int = NOW_MS, seed: int = 7) -> None:
    """Enrol the ward and run every story through the engine and the writers, in order of arrival."""
    enrol(conn, now_ms)
    engine = Engine(load_published())
    for index, story in enumerate(STORIES):
        patient = f"p-{index:04d}"
        kind = KIND[story.protocol]
        device = add_patient(conn, patient, story.team, index, kind, now_ms)
        samples = list(COURSES[story.protocol](story.course, Random(seed * 1000 + index), now_ms))
        readings = [
            Reading(
                device=device,
                seq=seq,
                kind=kind,
                measured_at_ms=at,
                values=values,
                offset_min=60,
                received_at_ms=came,
                patient=patient,
                context={"sample": "interstitial"} if kind == "glucose" else {},
            )
            for seq, (at, values, came) in enumerate(samples, start=1)
        ]
        plan = care_plan(patient, story.protocol, now_ms)
        store_plan(conn, plan)
        run_engine(conn, engine, plan, readings, now_ms)


def care_plan(patient: str, protocol: str, now_ms: int) -> CarePlan:
    version = PlanVersion(
        version=1,
        from_=format_instant(now_ms - 28 * DAY if protocol != SUGAR else now_ms - 14 * DAY),
        protocols=(protocol,),
        author="Dr Paul Hamelin",
        schedule={KIND[protocol]: Schedule(every_hours=24)},
    )
    return CarePlan(patient=patient, versions=(version,), care_team="caen")


def store_plan(conn: psycopg.Connection[Any], plan: CarePlan) -> None:
    for version in plan.versions:
        document = msgspec.to_builtins(version)
        conn.execute(
            "insert into scad.care_plan (patient, version, from_at, author, document, recorded_at)"
            " values (%s, %s, %s, %s, %s, %s)",
            (
                plan.patient,
                version.version,
                to_datetime(version.from_ms),
                version.author,
                Jsonb(document),
                to_datetime(version.from_ms),
            ),
        )


def run_engine(
    conn: psycopg.Connection[Any], engine: Engine, plan: CarePlan, readings: list[Reading], now_ms: int
) -> None:
    """Readings in the order in which they came, those of one instant as a batch, and a tick now."""
    state = engine.new_state(plan.patient)
    begin_ms = plan.versions[0].from_ms
    found: list[tuple[int, list[AlertSignal]]] = [
        (begin_ms, engine.apply(state, plans=[plan], tick_ms=begin_ms))
    ]
    batches: dict[int, list[Reading]] = {}
    for reading in readings:
        batches.setdefault(reading.received_at_ms, []).append(reading)
    for came in sorted(batches):
        found.append((came, engine.apply(state, readings=batches[came], tick_ms=came)))
    found.append((now_ms, engine.apply(state, tick_ms=now_ms)))
    write_readings(conn, readings, now_ms)
    for came, signals in found:
        if signals:
            write_signals(conn, signals, came)


def one_signal(
    patient: str,
    n: int,
    alert: str,
    *,
    state: str = "raised",
    severity: str = "high",
    rule: str = "weight-gain-3d",
    at_ms: int = NOW_MS,
    late: bool = False,
    cls: str = "clinical",
    supersedes: tuple[str, ...] | None = None,
) -> AlertSignal:
    """A signal written by hand, for tests of the feed alone."""
    more: dict[str, Any] = {} if supersedes is None else {"supersedes": supersedes}
    return AlertSignal(
        alert=alert,
        patient=patient,
        protocol="heart-failure",
        protocol_version="2026.1",
        rule=rule,
        cls=cls,  # type: ignore[arg-type]
        severity=severity,  # type: ignore[arg-type]
        state=state,  # type: ignore[arg-type]
        at=format_instant(at_ms),
        value=2.4,
        limit=2.0,
        unit="kg",
        late=late,
        evidence=(
            Evidence("bo-1", 1, format_instant(at_ms - 2 * DAY), 80.0, kind="body-weight"),
            Evidence("bo-1", 2, format_instant(at_ms), 82.4, kind="body-weight"),
        ),
        explanation={"fr": "Poids 82,4 kg : 2,4 kg de plus.", "en": "Weight 82.4 kg: 2.4 kg more."},
        n=n,
        **more,
    )
