"""How long Grafana waits: every query of every dashboard over a hundred million readings of two years.

    python -m bench.history [--millions 100] [--folder FOLDER] [--check]

Fills a real TimescaleDB with made-up readings (bench/made_history.py says how), asks it every panel's, annotation's and
variable's query as the role `grafana`, for ranges of 6 hours to 2 years, and writes bench/results/history.json and the
table in docs/dashboards.md. With --folder the filled database stays there: the next run asks at once, and one that was
interrupted goes on filling. --check ends with 1 where a query took more than a second.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from alerts.dashboards import boards
from alerts.dashboards.macros import expand
from alerts.dashboards.parts import Board, Sql
from alerts.schema import apply_schema
from bench.made_history import WEEKS, check_sample, fill
from bench.processes import RESULTS, result
from bench.report import DOCS, where
from scad.services import Postgres

SAYS = "How long the dashboards' queries take over many readings"
PAGE = DOCS / "dashboards.md"
GRANTS = Path(__file__).parents[1] / "deploy" / "grafana" / "grants.sql"
RANGES = {"6 h": 6, "24 h": 24, "7 d": 168, "30 d": 720, "90 d": 2160, "1 y": 8760, "2 y": 17_520}
"""Hours."""
LIMIT_MS = 1_000.0
GIVE_UP_S = 60  # a query that takes longer is recorded as that
TIMES = 3  # each query, about patients never asked about before: of those nothing is in memory from the time before
KINDS = ("glucose", "blood-pressure", "body-weight")
"""The kind of reading that is looked at the first, second and third time; the sensor's is the longest."""
TUNED = {
    "shared_buffers": "2GB",
    "effective_cache_size": "12GB",
    "work_mem": "16MB",
    "random_page_cost": "1.1",
    "effective_io_concurrency": "256",
    "max_wal_size": "2GB",
}
"""As timescaledb-tune, which the image of compose.yaml runs, sets a machine with a solid-state disk; PostgreSQL's own
defaults are for a spinning one and 128 MB of memory."""
FILLING = {"fsync": "off", "wal_level": "minimal", "max_wal_senders": "0", "autovacuum": "off"}
"""A database that can be filled again needs no crash safety while it is filled."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a dashboard, by its panel's title or what it is for."""

    board: str
    name: str
    sql: str


def queries() -> list[Query]:
    """What Grafana asks the database when each dashboard is opened."""
    return [query for name, board in boards().items() for query in _of(name, board)]


def _of(name: str, board: Board) -> Iterator[Query]:
    for variable in (builder.build() for builder in board.variables):
        if variable.query and (variable.datasource is not None):
            yield Query(name, f"variable {variable.name}", str(variable.query))
    for marks in board.annotations:
        yield Query(name, f"annotation {marks.name}", marks.sql)
    for panel in board.panels:
        for query in panel.queries:
            if isinstance(query, Sql):
                yield Query(
                    name, panel.title if query.ref == "A" else f"{panel.title}/{query.ref}", query.sql
                )


class Reader:
    """Grafana's session, and the patients that are looked at one after the other."""

    def __init__(self, server: Postgres, conn: psycopg.Connection[Any]) -> None:
        self._owner = conn
        if conn.execute("select from pg_roles where rolname = 'grafana'").fetchone() is None:
            conn.execute("create role grafana nologin")
        conn.execute(GRANTS.read_text(encoding="utf-8"))
        self.conn = psycopg.connect(server.dsn_of("scad", "postgres"), autocommit=True)
        self.conn.execute("set session authorization grafana")
        self.conn.execute("set default_transaction_read_only = on")
        self.conn.execute(f"set statement_timeout = '{GIVE_UP_S}s'")
        self._patients = {
            kind: [row[0] for row in conn.execute(
                "select patient from made.device where kind = %s order by md5(device || %s)",
                [kind, time.time_ns()]).fetchall()]
            for kind in KINDS
        }  # fmt: skip
        self._turn = dict.fromkeys(KINDS, 0)
        self._fixed = {
            "team": [row[0] for row in conn.execute("select care_team from scad.care_team").fetchall()],
            "protocol": [
                row[0] for row in conn.execute("select distinct protocol from scad.alert").fetchall()
            ],
        }
        ((self.end,),) = conn.execute("select made.day(%s)", [7 * WEEKS]).fetchall()

    def close(self) -> None:
        self.conn.close()

    def choose(self, kind: str) -> dict[str, str | Sequence[str]]:
        """The variables, with a patient who has that kind and was not asked about yet."""
        patients = self._patients[kind]
        self._turn[kind] += 1
        return {**self._fixed, "kind": kind, "patient": patients[self._turn[kind] % len(patients)]}

    def ask(self, query: Query, hours: int, variables: dict[str, str | Sequence[str]]) -> tuple[float, int]:
        """Milliseconds until all rows are here, and how many came."""
        end: datetime = self.end
        begin = end - timedelta(hours=hours)
        sql = expand(query.sql, round(begin.timestamp() * 1000), round(end.timestamp() * 1000), variables)
        began = time.perf_counter()
        try:
            rows = len(self.conn.execute(sql).fetchall())
        except psycopg.errors.QueryCanceled:
            rows = 0
        return (time.perf_counter() - began) * 1e3, rows


def asked(reader: Reader, ranges: Sequence[str]) -> list[dict[str, Any]]:
    """Every query for every range: the times and the most rows. A dashboard is opened for one patient at a time."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    of = queries()
    for name in ranges:
        for turn in range(TIMES):
            for board in dict.fromkeys(query.board for query in of):
                variables = reader.choose(KINDS[turn])
                for query in (query for query in of if query.board == board):
                    took, rows = reader.ask(query, RANGES[name], variables)
                    key = (query.board, query.name, name)
                    entry = found.setdefault(
                        key, {"dashboard": key[0], "query": key[1], "range": name, "ms": [], "rows": 0}
                    )
                    entry["ms"].append(round(took, 1))
                    entry["rows"] = max(entry["rows"], rows)
        print(f"asked for {name}", flush=True)
    return list(found.values())


def slow(entries: Sequence[dict[str, Any]], limit_ms: float = LIMIT_MS) -> list[dict[str, Any]]:
    """Queries that took longer, the slowest first."""
    return sorted((e for e in entries if max(e["ms"]) > limit_ms), key=lambda e: -max(e["ms"]))


def table(figures: dict[str, Any]) -> str:
    """Markdown: by dashboard and range the median and the worst of its queries, in ms."""
    entries = figures["queries"]
    ranges = list(dict.fromkeys(e["range"] for e in entries))
    lines = [
        f"| median / worst query, ms | {' | '.join(ranges)} | slowest |",
        f"| --- |{' ---: |' * len(ranges)} --- |",
    ]
    for board in dict.fromkeys(e["dashboard"] for e in entries):
        mine = [e for e in entries if e["dashboard"] == board]
        cells = []
        for name in ranges:
            times = [ms for e in mine if e["range"] == name for ms in e["ms"]]
            cells.append(f"{statistics.median(times):,.0f} / {max(times):,.0f}")
        slowest = max(mine, key=lambda e: max(e["ms"]))
        lines.append(f"| {board} | {' | '.join(cells)} | *{slowest['query']}* |")
    return "\n".join(lines)


def shown(figures: dict[str, Any]) -> str:
    """The table and what it was measured on."""
    of = figures["database"]
    late = len(slow(figures["queries"]))
    words = (
        f"{late} of {len(figures['queries'])} took more than a second"
        if late
        else "none took more than a second"
    )
    return (
        f"{table(figures)}\n\n{of['readings']:,} readings of {of['patients']:,} patients, {of['alerts']:,} alerts, "
        f"{of['daily_rows']:,} daily rows, {of['gigabytes']:.1f} GB; {of['server']}. {len(figures['queries'])} queries "
        f"and ranges, {TIMES} times each, each time about another patient: {words}.\n\n*{where(figures)}*"
    )


def filled(text: str, figures: dict[str, Any]) -> str:
    """The page with the table in its place."""
    begin, end = "<!-- begin history -->", "<!-- end history -->"
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{shown(figures)}\n{end}", text, flags=re.DOTALL)


@contextmanager
def place(folder: Path | None) -> Iterator[Path]:
    """The folder that was named, or one that is gone afterwards."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)  # PostgreSQL runs as nobody
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="scad-history-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def prepare(folder: Path, millions: float) -> int:
    """Fill the database of the folder, where it is not filled yet; how many days of the roll-up were compared."""
    with (
        Postgres(folder / "postgres", options=TUNED | FILLING) as server,
        psycopg.connect(server.dsn, autocommit=True) as conn,
    ):
        apply_schema(conn)
        fill(conn, millions, lambda said: print(said, flush=True))
        return check_sample(conn)


def measure(folder: Path, ranges: Sequence[str]) -> dict[str, Any]:
    with (
        Postgres(folder / "postgres", options=TUNED) as server,
        psycopg.connect(server.dsn, autocommit=True) as conn,
    ):
        counted = {
            "readings": "select sum(n) from scad.reading_daily",
            "daily_rows": "select count(*) from scad.reading_daily",
            "patients": "select count(*) from scad.patient",
            "alerts": "select count(*) from scad.alert",
            "gigabytes": "select sum(bytes) / 1e9 from scad.footprint()",
        }
        database = {name: float((conn.execute(sql).fetchone() or [0])[0]) for name, sql in counted.items()}
        numbers = {name: value if name == "gigabytes" else round(value) for name, value in database.items()}
        reader = Reader(server, conn)
        try:
            found = asked(reader, ranges)
        finally:
            reader.close()
        return {"database": numbers | {"server": server.version}, "queries": found}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.history", description=SAYS)
    parser.add_argument("--millions", type=float, default=100.0, help="readings (default: 100)")
    parser.add_argument("--folder", type=Path, help="where the database is kept for the next run")
    parser.add_argument("--ranges", nargs="+", choices=list(RANGES), default=list(RANGES))
    parser.add_argument(
        "--check", action="store_true", help="end with 1 where a query took more than a second"
    )
    parser.add_argument("--json", type=Path, default=RESULTS / "history.json")
    given = parser.parse_args(arguments)
    with place(given.folder) as folder, result(given.json) as figures:
        compared = prepare(folder, given.millions)
        figures |= measure(folder, given.ranges)
        figures["days_compared"] = compared
    if given.json == RESULTS / "history.json":
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")
    print(shown(figures))
    late = slow(figures["queries"])
    print(json.dumps([e | {"ms": max(e["ms"])} for e in late], indent=1))
    return 1 if given.check and late else 0


if __name__ == "__main__":
    sys.exit(main())
