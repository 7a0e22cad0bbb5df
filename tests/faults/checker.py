"""What a run must come to: equal sets at every station, compared with the pure engine over the same readings."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer
from region import Region
from whole_platform import Episode, episode

from devices.times import format_instant, from_datetime, parse_instant
from scad.settings import Settings
from streams import kafka, topics
from streams.signal import AlertSignal, StandingEpisode, encode_signal, fold

Identity = tuple[str, int]
Signals = dict[tuple[str, int], dict[str, Any]]
"""(patient, n): the signal."""
SHOWN = 5
"""Differences that are named; how many there are is always said."""
QUIET_POLLS = 5


class Findings:
    """What is wrong, in sentences; and figures of the run."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.figures: dict[str, int] = {}

    def same(self, what: str, found: Iterable[Any], expected: Iterable[Any]) -> None:
        """Both hold the same things, and each once."""
        have, want = Counter(found), Counter(expected)
        for word, difference in (("lost", want - have), ("too many", have - want)):
            if difference:
                some = sorted(map(str, difference))[:SHOWN]
                self.wrong.append(f"{what}: {sum(difference.values())} {word}, such as {some}")

    def none(self, what: str, found: Iterable[Any]) -> None:
        self.same(what, found, ())


def expected_episodes(region: Region, readings: Path, plans: Path, until_ms: int) -> list[Episode]:
    """What stands according to the pure engine: `scad replay --standing` over the readings of the run."""
    until = format_instant(until_ms)
    protocols = [word for name in ("heart-failure",) for word in ("--protocol", name)]
    said = region.scad("replay", readings, *protocols, "--care-plans", plans, "--until", until, "--standing")
    return sorted(map(episode, said.splitlines()))


def standing(region: Region) -> list[Episode]:
    """The episodes in the database that have a cause."""
    with region.database() as conn:
        found = conn.execute(
            "select alert::text, patient, protocol, rule, class, severity, opened_at, last_at, cleared_at"
            " from scad.alert where reason is null"
        ).fetchall()
    return sorted(
        (alert, patient, protocol, rule, cls, severity, from_datetime(opened), from_datetime(last),
         None if cleared is None else from_datetime(cleared))
        for alert, patient, protocol, rule, cls, severity, opened, last, cleared in found
    )  # fmt: skip


def stored_count(region: Region) -> int:
    with region.database() as conn:
        row = conn.execute("select count(*) from scad.reading").fetchone()
    return int(row[0]) if row else 0


def check_database(region: Region, lines: list[dict[str, Any]], findings: Findings) -> None:
    """Every reading once, with its patient, time and value; every signal's number once and none missed."""
    want = (
        (
            line["patient"],
            line["device"],
            line["seq"],
            parse_instant(line["measured_at"])[0],
            main_value(line),
        )
        for line in lines
    )
    with region.database() as conn:
        rows = conn.execute("select patient, device, seq, measured_at, value from scad.reading")
        have = [(p, d, s, from_datetime(at), value) for p, d, s, at, value in rows]
        findings.same("readings in the database", have, want)
        behind = conn.execute(
            "select patient, n, before from (select patient, n, id,"
            " lag(n) over (partition by patient order by id) as before"
            " from scad.alert_event where kind = 'signal') as steps where n <> coalesce(before, 0) + 1"
        ).fetchall()
        findings.none("signals (patient, n, n before) that the database took out of order", behind)
        gaps = conn.execute(
            "select patient, count(*), count(distinct n), min(n), max(n) from scad.alert_event"
            " where kind = 'signal' group by patient having count(*) <> max(n) or count(distinct n) <> max(n)"
        ).fetchall()
        findings.none("signals in the database that are numbered otherwise than 1, 2, 3 …", gaps)
        findings.none(
            "quarantine", conn.execute("select device, seq, reason from scad.quarantine").fetchall()
        )


def main_value(line: dict[str, Any]) -> float:
    values = line["values"]
    return float(values.get("systolic", next(iter(values.values()))))


def check_kafka(region: Region, lines: list[dict[str, Any]], findings: Findings) -> Signals:
    """What has a receipt is in both topics of readings; each patient's signals come in order of their numbers.
    Returns the signals."""
    return asyncio.run(_check_kafka(region, {(line["device"], line["seq"]) for line in lines}, findings))


def check_signals(region: Region, signals: Signals, expected: list[Episode], findings: Findings) -> None:
    """The database has Kafka's signals, content included, and they fold to what the pure engine says."""
    with region.database() as conn:
        rows = conn.execute("select patient, n, body from scad.alert_event where kind = 'signal'")
        have = [(patient, n, canonical(body)) for patient, n, body in rows]
    want = [(patient, n, canonical(body)) for (patient, n), body in signals.items()]
    findings.same("signals in the database against scad.alerts", have, want)
    stand: dict[str, StandingEpisode] = {}
    for _, body in sorted(signals.items()):
        fold(stand, msgspec.convert(body, AlertSignal))
    folded = sorted(episode(encode_signal(one)) for one in stand.values())
    findings.same("signals of scad.alerts, folded, against the pure engine", folded, expected)


def canonical(body: dict[str, Any]) -> str:
    return json.dumps(body, sort_keys=True)


async def _check_kafka(region: Region, sent: set[Identity], findings: Findings) -> Signals:
    signals: Signals = {}
    telemetry: Counter[Identity] = Counter()
    readings: Counter[Identity] = Counter()
    numbers: dict[str, list[int]] = defaultdict(list)

    def take(topic: str, value: bytes) -> None:
        said = msgspec.json.decode(value)
        if topic in (topics.TELEMETRY, topics.BACKLOG):
            for one in said if isinstance(said, list) else [said]:
                telemetry[one["device"], one["seq"]] += 1
        elif topic == topics.READINGS:
            readings[said["device"], said["seq"]] += 1
        else:
            numbers[said["patient"]].append(said["n"])
            if signals.setdefault((said["patient"], said["n"]), said) != said:
                findings.wrong.append(f"signal {said['n']} of {said['patient']} has two contents")

    await _read_all(region, (topics.TELEMETRY, topics.BACKLOG, topics.READINGS, topics.ALERTS), take)
    findings.same("identities in scad.telemetry and scad.backlog", set(telemetry), sent)
    findings.same("identities in scad.readings", set(readings), sent)
    for patient, found in numbers.items():
        first = list(dict.fromkeys(found))  # what comes again is a repetition, not a disorder
        if first != list(range(1, len(first) + 1)):
            findings.wrong.append(f"signals of {patient} are out of order in scad.alerts: {first[:40]}")
    findings.figures |= {
        "sent again by devices or brokers": telemetry.total() - len(telemetry),
        "repeated in scad.readings": readings.total() - len(readings),
        "signals": sum(len(set(found)) for found in numbers.values()),
        "signals repeated in scad.alerts": sum(len(found) - len(set(found)) for found in numbers.values()),
    }
    return signals


async def _read_all(region: Region, names: tuple[str, ...], take: Any) -> None:
    settings = Settings(kafka=region.bootstrap)
    consumer: AIOKafkaConsumer = kafka.make_consumer(settings, *names, client_id="checker")
    await kafka.started(consumer, settings)
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(part) < end for part, end in ends.items()]):
            for partition, records in (await consumer.getmany(timeout_ms=1_000)).items():
                for record in records:
                    take(partition.topic, record.value)
    finally:
        await consumer.stop()


def last_step(region: Region) -> int:
    with region.database() as conn:
        row = conn.execute("select coalesce(max(id), 0) from scad.alert_event").fetchone()
    return int(row[0]) if row else 0


def check_feed(region: Region, seen: list[int], first: int, last: int, findings: Findings) -> None:
    """The browser that listened all the time has had every step of every alert once and in order: those after
    `first`, up to `last`, since more may come meanwhile."""
    steps = "select id from scad.alert_event where id > %s and id <= %s order by id"
    with region.database() as conn:
        ids = [id_ for (id_,) in conn.execute(steps, (first, last))]
    seen = [id_ for id_ in seen if id_ <= last]
    findings.same("steps of alerts that the browser has had", seen, ids)
    if seen != sorted(seen):
        findings.wrong.append("steps came to the browser out of order")


def write_report(path: Path, findings: Findings, figures: dict[str, Any]) -> None:
    report = {**figures, **findings.figures, "equal": not findings.wrong, "wrong": findings.wrong}
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
