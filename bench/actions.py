"""What people's actions cost in the database: one, fifty at once, and the writer with what hides what.

    python -m bench.actions [--alerts 5000] [--repeat 20] [--json FILE] [--check]

Starts a PostgreSQL of its own with `--alerts` open alerts of one team (two of a problem for each patient, so that
half of them are hidden) and measures without HTTP; bench.feed measures with it. `--check` ends with status 1 when a
goal is missed: an action under 100 ms, fifty at once under 1 s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import psycopg

from alerts.actions import Connection, Done, act, act_in_bulk, pass_time
from alerts.lifecycle import ActionRequest
from alerts.schema import apply_schema
from alerts.store import write_signals
from bench.machine import machine
from devices.times import format_instant, parse_instant, to_datetime
from scad.services import Postgres
from streams.signal import AlertSignal, Evidence

NOW_MS = parse_instant("2026-11-22T08:00:00Z")[0]
NOW = to_datetime(NOW_MS)
BULK = 50
GOALS_MS = {"one action": 100.0, "fifty at once": 1000.0}
BATCH = 2_000  # signals of one transaction: the writer's


def signal(n: int, alert: int, rule: str, severity: Any, state: Any = "raised") -> AlertSignal:
    patient = f"p-{alert // 2:05d}"
    return AlertSignal(
        alert=str(UUID(int=alert + 1)), patient=patient, protocol="heart-failure", protocol_version="2026.1",
        rule=rule, cls="clinical", severity=severity, state=state, at=format_instant(NOW_MS), value=2.4, limit=2.0,
        unit="kg", n=n, explanation={"fr": "Poids 82,4 kg : 2,4 kg de plus.", "en": "Weight 82.4 kg: 2.4 kg more."},
        evidence=(Evidence("bo-1", n, format_instant(NOW_MS), 82.4, kind="body-weight"),),
    )  # fmt: skip


def fill(address: str, alerts: int) -> float:
    """`alerts` open alerts, a high and a medium one for each patient; milliseconds a signal."""
    with psycopg.connect(address, autocommit=True) as conn:
        apply_schema(conn)
        conn.execute("insert into scad.care_team values ('caen', 'Caen')")
        conn.execute(
            "insert into scad.patient select 'p-' || lpad(i::text, 5, '0'), 'caen', now()"
            " from generate_series(0, %s) i",
            (alerts // 2,),
        )
        kinds = (("weight-gain-3d", "high"), ("weight-gain-1d", "medium"))
        made = [signal(i % 2 + 1, i, *kinds[i % 2]) for i in range(alerts)]
        begin = time.perf_counter()
        for start in range(0, len(made), BATCH):
            write_signals(conn, made[start : start + BATCH], NOW_MS)
        took = time.perf_counter() - begin
        conn.execute("vacuum analyze")
    return took * 1000 / alerts


def expect(held: bool, what: str) -> None:
    """A figure of work that did not do its work is worse than none."""
    if not held:
        raise RuntimeError(f"not so: {what}")


async def timed(repeat: int, work: Any) -> list[float]:
    """Milliseconds of each of `repeat` runs of `work(number)`."""
    took = []
    for number in range(repeat):
        begin = time.perf_counter()
        await work(number)
        took.append((time.perf_counter() - begin) * 1000)
    return took


async def measure(address: str, alerts: int, repeat: int) -> dict[str, list[float]]:
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as conn:
        one = ActionRequest(action="acknowledge", note="called")
        pairs = alerts // 2

        async def single(number: int) -> None:
            which = UUID(int=2 * (pairs - 1 - number) + 1)
            expect(isinstance(await act(conn, which, one, "anne", NOW), Done), "the action is done")

        async def fifty(number: int) -> None:
            asked = [UUID(int=2 * (number * BULK + i) + 2) for i in range(BULK)]
            done = await act_in_bulk(conn, asked, one, "anne", NOW)
            expect(all(isinstance(result, Done) for result in done.values()), "all fifty are done")

        async def nothing_due(number: int) -> None:
            expect(await pass_time(conn, NOW) == 0, "nothing is due")

        return {
            "one action": await timed(repeat, single),
            "fifty at once": await timed(repeat, fifty),
            "time passes, nothing due": await timed(repeat, nothing_due),
            "two people on the same fifty": await timed(repeat, lambda n: both(address, pairs, repeat, n)),
        }


async def both(address: str, pairs: int, repeat: int, number: int) -> None:
    """Two people at once: every alert has one who did it and one who was told."""
    asked = [UUID(int=2 * ((repeat + number) * BULK + i) + 2) for i in range(BULK)]
    one = ActionRequest(action="acknowledge")

    async def person(conn: Connection, by: str, alerts: Sequence[UUID]) -> int:
        results = await act_in_bulk(conn, alerts, one, by, NOW)
        return sum(isinstance(result, Done) for result in results.values())

    async with (
        await psycopg.AsyncConnection.connect(address, autocommit=True) as first,
        await psycopg.AsyncConnection.connect(address, autocommit=True) as second,
    ):
        done = await asyncio.gather(person(first, "anne", asked), person(second, "paul", asked[::-1]))
    expect(sum(done) == BULK, "every alert has one who did it")


def main() -> int:
    parser = argparse.ArgumentParser(description="What people's actions cost in the database")
    parser.add_argument("--alerts", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    if asked.alerts < 4 * asked.repeat * BULK:
        parser.error(f"--alerts: {asked.repeat} runs of {BULK} ask for {4 * asked.repeat * BULK} alerts")
    with tempfile.TemporaryDirectory(prefix="scad-bench-") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL runs as another user when this runs as root
        with Postgres(Path(folder) / "postgres").start() as server:
            address = server.create_database()
            per_signal = fill(address, asked.alerts)
            found = asyncio.run(measure(address, asked.alerts, asked.repeat))
    rows = {
        name: {"median_ms": round(median(took), 2), "worst_ms": round(max(took), 2)}
        for name, took in found.items()
    }
    print(f"{asked.alerts} open alerts; the writer took {per_signal:.2f} ms a signal")
    for name, figures in rows.items():
        print(f"{name:32} median {figures['median_ms']:8.2f} ms   worst {figures['worst_ms']:8.2f} ms")
    if asked.json is not None:
        document = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(),
            "alerts": asked.alerts, "writer_ms_a_signal": round(per_signal, 3), "figures": rows,
        }  # fmt: skip
        asked.json.write_text(json.dumps(document, indent=2) + "\n")
    missed = [name for name, goal in GOALS_MS.items() if rows[name]["worst_ms"] > goal]
    for name in missed:
        print(f"missed: {name} took longer than {GOALS_MS[name]:.0f} ms", file=sys.stderr)
    return 1 if missed and asked.check else 0


if __name__ == "__main__":
    sys.exit(main())
