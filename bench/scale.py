"""A million patients on paper, and what one patient costs in a year: from schedules and from what was measured.

    python -m bench.scale [--patients 300] [--days 14]

Simulates a cohort for what patients send, takes the costs from the results of bench.latency, bench.database,
bench.recovery, bench.writer and bench.engine, and writes bench/results/scale.json. `python -m bench.report` puts the
tables into docs/scale.md.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from math import ceil
from pathlib import Path
from typing import Any

import msgspec

from bench.processes import RESULTS, result
from devices.physiology import Cohort
from streams.score_run import START_MS, deliveries

SAYS = "Readings a second, machines, bytes and watts for a million patients; the footprint of one"
MILLION = 1_000_000
DAY_MS, YEAR_DAYS, DAY_SECONDS = 86_400_000, 365.25, 86_400.0
HALF = 0.5
"""How busy a core may be at the daily peak: a worker, a broker or a node can then be lost, or a backlog worked off."""
WATTS_PER_CORE = 8.0
"""A core of a server at work, with its share of memory, disks and cooling (assumption: 250 W for 32 cores)."""
REPLICAS = 3
TELEMETRY_DAYS = 7
COMPRESSED_AFTER_DAYS = 60
PARTITIONS_PER_CORE = 3  # so that workers can be added without moving to new topics
WEIGHT = "body-weight"  # the kind that bench.latency sends
CORES_OF_A = {"mosquitto": 1, "bridge": 1, "worker": 1, "feed": 1, "kafka": 4, "postgres": 4}
"""Cores that one process of each can use (brokers and databases: of the node they are given)."""
REMEDIES = {
    "mosquitto": "a broker for each region, with bridges of its own",
    "bridge": "another bridge: they share one subscription",
    "worker": "another worker, up to the number of partitions: they share them",
    "feed": "another feed behind the same address",
    "kafka": "another broker takes partitions over",
    "postgres": "care teams are split over databases: no query crosses a team",
}
DAILY, SENSOR = "daily measurements", "glucose every 5 min"

Costs = dict[str, Any]


def what_is_sent(seed: int, patients: int, days: int) -> dict[str, Any]:
    """Readings of a patient and day, by protocol and kind, and how much more comes in the busiest hour of the day."""
    cohort = Cohort(seed=seed, patients=patients, start_ms=START_MS, days=days)
    by_protocol: dict[str, Counter[str]] = defaultdict(Counter)
    on_protocol: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    hours: Counter[int] = Counter()
    together = 0
    for patient in cohort.patients:
        protocols = patient.care_plan(cohort.begin_ms)["protocols"]
        sent: Counter[str] = Counter()
        for delivered_ms, readings in deliveries(patient.patient, cohort.readings(patient)):
            sent.update(reading.kind for reading in readings)
            hours[delivered_ms // 3_600_000 % 24] += len(readings)
            together += 1
        kinds.update(sent)
        if len(protocols) == 1:  # a patient on several would be counted for each
            by_protocol[protocols[0]].update(sent)
            on_protocol[protocols[0]] += 1
    total = sum(kinds.values())
    days_of = patients * days
    return {
        "kinds_a_day": {kind: round(n / days_of, 4) for kind, n in kinds.most_common()},
        "protocols": {
            name: {kind: round(n / (on_protocol[name] * days), 3) for kind, n in of.most_common()}
            for name, of in sorted(by_protocol.items())
        },
        "readings_a_message": round(total / together, 2),
        "peak_hour_times_mean": round(max(hours.values()) * 24 / total, 2),
    }


def evaluation_us(engine: Costs) -> dict[str, float]:
    """CPU time of one reading of each kind in the engine."""
    return {kind: of["median"] for kind, of in engine["kinds_us_per_reading_in_batches_of_8"].items()}


def footprint(sent: dict[str, float], costs: Costs, together: bool) -> dict[str, float]:
    """CPU seconds and database bytes of a patient-year that sends so many readings of each kind a day."""
    path = costs["path_us_together"] if together else costs["path_us"]
    readings = cpu_s = 0.0
    for kind, a_day in sent.items():
        a_year = a_day * YEAR_DAYS
        us = path + costs["evaluation_us"].get(kind, 0.0) - costs["evaluation_us"][WEIGHT]
        readings += a_year
        cpu_s += a_year * us / 1e6
    return {
        "readings": round(readings),
        "cpu_seconds": round(cpu_s, 1),
        "watt_hours": round(cpu_s * WATTS_PER_CORE / 3_600, 3),
        "megabytes": round(readings * costs["database_bytes"] / 1e6, 2),
        "megabytes_compressed": round(readings * costs["database_bytes_compressed"] / 1e6, 2),
    }


def million(sent: dict[str, Any], costs: Costs) -> dict[str, Any]:
    """What a million such patients need."""
    a_day = sum(sent["kinds_a_day"].values()) * MILLION
    mean = a_day / DAY_SECONDS
    peak = mean * sent["peak_hour_times_mean"]
    year = footprint(sent["kinds_a_day"], costs, together=False)
    cores = {name: peak * us / 1e6 / HALF for name, us in costs["process_us"].items() if name != "devices"}
    rhythm = sent["kinds_a_day"].get("rr-intervals", 0.0) + sent["kinds_a_day"].get("ecg", 0.0)
    rhythm_us = costs["evaluation_us"].get("rr-intervals", 0.0)
    cores["worker"] += rhythm * MILLION / DAY_SECONDS * sent["peak_hour_times_mean"] * rhythm_us / 1e6 / HALF
    workers = ceil(max(cores["worker"], costs["memory_gib_per_million"] / 16))
    brokers = max(REPLICAS, ceil(cores["kafka"] * REPLICAS / CORES_OF_A["kafka"]))
    nodes = max(1, ceil(peak / HALF / costs["rows_per_second"]))
    limits = limits_of(costs)
    first = min(limits, key=lambda name: limits[name])
    there = {"kafka": brokers, "worker": workers, "postgres": nodes}
    idle = sum(of * there.get(name, 1) for name, of in costs["idle_cores"].items())
    busy = year["cpu_seconds"] * MILLION / YEAR_DAYS / DAY_SECONDS
    hot = year["megabytes"] * COMPRESSED_AFTER_DAYS / YEAR_DAYS
    return {
        "readings_per_second_mean": round(mean),
        "readings_per_second_peak": round(peak),
        "cores_at_peak": {name: round(n, 1) for name, n in sorted(cores.items(), key=lambda item: -item[1])},
        "workers": workers,
        "partitions": ceil(workers * PARTITIONS_PER_CORE / 12) * 12,
        "brokers": brokers,
        "kafka_terabytes": round(a_day * TELEMETRY_DAYS * costs["kafka_bytes"] * REPLICAS / 1e12, 2),
        "kafka_megabytes_per_second_peak": round(peak * costs["kafka_bytes"] * REPLICAS / 1e6, 1),
        "rows_per_second_of_one_database": costs["rows_per_second"],
        "database_nodes": nodes,
        "one_process_takes": {name: round(n) for name, n in sorted(limits.items(), key=lambda item: item[1])},
        "saturates_first": {
            "what": first,
            "readings_per_second": round(limits[first]),
            "then": REMEDIES[first],
        },
        "terabytes_a_year": round(year["megabytes"] * MILLION / 1e6, 2),
        "terabytes_a_year_compressed": round((hot + year["megabytes_compressed"]) * MILLION / 1e6, 2),
        "states_gib": round(costs["memory_gib_per_million"], 1),
        "cores_busy_mean": round(busy, 1),
        "watts_busy": round(busy * WATTS_PER_CORE),
        "watts_idle": round(idle * WATTS_PER_CORE, 1),
        "watts_installed": round(sum(cores.values()) * WATTS_PER_CORE),
    }


def limits_of(costs: Costs) -> dict[str, float]:
    """Readings a second that one process of each kind takes, all its cores busy; the database as bench.writer found."""
    limits = {
        name: CORES_OF_A[name] * 1e6 / us
        for name, us in costs["process_us"].items()
        if name in CORES_OF_A and us
    }
    return limits | {"postgres": float(costs["rows_per_second"])}


def saved(sent: dict[str, Any], costs: Costs, engine: Costs) -> dict[str, dict[str, float]]:
    """What batching, retention and compression save a million patients: without it, and with it."""
    a_day = sum(sent["kinds_a_day"].values()) * MILLION
    alone, gathered = (footprint(sent["kinds_a_day"], costs, together) for together in (False, True))
    a_year_tb = a_day * YEAR_DAYS * costs["kafka_bytes"] * REPLICAS / 1e12
    kept_tb = a_day * TELEMETRY_DAYS * costs["kafka_bytes"] * REPLICAS / 1e12
    state = engine["mixes"][DAILY]["state"]
    sensor = engine["mixes"][SENSOR]["state"]

    def pair(without: float, with_it: float, digits: int = 1) -> dict[str, float]:
        return {"without": round(without, digits), "with": round(with_it, digits)}

    return {
        "batching: CPU seconds of a patient-year": pair(alone["cpu_seconds"], gathered["cpu_seconds"]),
        "batching: bytes in Kafka of a reading": pair(costs["kafka_bytes"], costs["kafka_bytes_together"], 0),
        "retention: TB in Kafka after a year": pair(a_year_tb, kept_tb, 2),
        "compression: TB a year in the database": pair(
            alone["megabytes"] * MILLION / 1e6, alone["megabytes_compressed"] * MILLION / 1e6, 2
        ),
        f"packing: KiB of a state, {DAILY}": pair(
            state["memory_median"] / 1024, state["bytes_median"] / 1024
        ),
        f"packing: KiB of a state, {SENSOR}": pair(
            sensor["memory_median"] / 1024, sensor["bytes_median"] / 1024
        ),
    }


def saved_table(figures: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| saved by | without | with | times |", "| --- | ---: | ---: | ---: |"]
    for name, of in figures["saved"].items():
        times = of["without"] / of["with"] if of["with"] else 0.0
        lines.append(f"| {name} | {of['without']:,} | {of['with']:,} | {times:,.1f} |")
    return "\n".join(lines)


def schedule_table(figures: dict[str, Any]) -> str:
    """Markdown: readings a day of a patient who is on one protocol, as simulated from its schedule."""
    lines = ["| a patient on | readings a day | of which |", "| --- | ---: | --- |"]
    for name, kinds in figures["sent"]["protocols"].items():
        words = ", ".join(f"{kind} {n:,.2g}" if n < 10 else f"{kind} {n:,.0f}" for kind, n in kinds.items())
        lines.append(f"| {name} | {sum(kinds.values()):,.1f} | {words} |")
    return "\n".join(lines)


def limits_table(figures: dict[str, Any]) -> str:
    """Markdown: what saturates first, and what is done then."""
    peak = figures["million"]["readings_per_second_peak"]
    lines = [
        f"| process | readings/s of one | share of it that {peak:,} a second take | then |",
        "| --- | ---: | ---: | --- |",
    ]
    for number, (name, most) in enumerate(figures["million"]["one_process_takes"].items()):
        shown = f"**{name}**" if number == 0 else name
        lines.append(f"| {shown} | {most:,} | {peak / most:.0%} | {REMEDIES[name]} |")
    return "\n".join(lines)


def read(name: str, where: Path = RESULTS) -> Costs:
    """A result. Raises FileNotFoundError that says which script makes it."""
    path = where / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: python -m bench.{name}")
    found: Costs = msgspec.json.decode(path.read_bytes())
    return found


def costs_of(latency: Costs, database: Costs, recovery: Costs, writer: Costs, engine: Costs) -> Costs:
    """What a reading costs, from the measurements."""
    single, together = latency["capacity"]
    written, packed = database["as_written"], database["columnstore"]
    ours = {name: us for name, us in single["cpu_seconds_per_million"].items() if name != "devices"}
    theirs = {name: us for name, us in together["cpu_seconds_per_million"].items() if name != "devices"}
    raw = written["bytes_per_million_readings"] / 1e6
    saved = (
        packed["bytes_per_reading"] - packed["bytes_per_reading_compressed"]
        if isinstance(packed, dict)
        else 0
    )
    largest = recovery["recovery"][-1]
    process_us = dict(single["cpu_seconds_per_million"])
    rarely_us = largest.get("distinct", {}).get("cpu_us_a_reading", 0.0)
    process_us["worker"] = max(process_us["worker"], rarely_us)  # a patient whose state was not at hand
    idle = latency.get("idle", {}).get("cpu_seconds_an_hour", {})
    return {
        "process_us": process_us,
        "idle_cores": {name: round(of / 3_600, 4) for name, of in idle.items() if name != "devices"},
        "path_us": round(sum(ours.values()), 1),
        "path_us_together": round(sum(theirs.values()), 1),
        "kafka_bytes": round(sum(single["kafka_bytes_per_reading"].values())),
        "kafka_bytes_together": round(sum(together["kafka_bytes_per_reading"].values())),
        "database_bytes": round(raw, 1),
        "database_bytes_compressed": round(raw - saved, 1),
        "rows_per_second": max(
            of["rows_per_second"] for of in writer["writer"] if of["case"] == "many patients"
        ),
        "memory_gib_per_million": round(largest["memory_mib"] / largest["patients"] * MILLION / 1024, 1),
        "evaluation_us": evaluation_us(engine),
    }


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    sent = what_is_sent(asked.seed, asked.patients, asked.days)
    engine = read("engine")
    costs = costs_of(read("latency"), read("database"), read("recovery"), read("writer"), engine)
    return {
        "cohort": {key: getattr(asked, key) for key in ("seed", "patients", "days")},
        "sent": sent,
        "costs": costs,
        "million": million(sent, costs),
        "saved": saved(sent, costs, engine),
        "footprint": {
            name: footprint(of, costs, together=False)
            | {"cpu_seconds_together": footprint(of, costs, together=True)["cpu_seconds"]}
            for name, of in sent["protocols"].items()
        },
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=SAYS)
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, default=RESULTS / "scale.json")
    asked = parser.parse_args(arguments)
    with result(asked.json) as figures:
        figures.update(measure(asked))
    print(msgspec.json.format(msgspec.json.encode(figures["million"]), indent=1).decode())
    print(*(table(figures) for table in (limits_table, schedule_table, saved_table)), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
