"""How long the trail of accesses takes: verifying a million lines, and appending by one and by many at once.

    python -m bench.trail [LINES]

A database server of its own, on this machine; nothing is left behind.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from alerts.audit.chain import chained
from alerts.audit.entry import Entry, lines_of
from alerts.audit.recorder import Recorder
from alerts.audit.store import checkpoint, of_patient, verify_database
from alerts.feed.database import Database
from alerts.identity.keys import make_master_key, parse_master_key
from alerts.schema import apply_schema
from devices.times import format_instant
from scad.services import Postgres

LINES = 1_000_000
PATIENTS = 10_000
AT_ONCE, APPENDED = 50, 5_000
NOW_MS = 1_790_000_000_000


def entry(n: int) -> Entry:
    """A nurse opens a patient's page."""
    return Entry(
        at=format_instant(NOW_MS + n * 30),
        by=f"infirmiere{n % 200}",
        did="GET /patients/{patient}",
        role="nurse",
        patients=(f"p-{n * 7919 % PATIENTS:032x}",),
        at_from="10.1.2.3",
        session=f"{n % 200:012x}",
        status=200,
    )


def fill(conn: psycopg.Connection[tuple[object, ...]], lines: int) -> None:
    """The lines as audit.append would have written them."""
    with conn.cursor() as cursor, cursor.copy("copy audit.entry (n, line, hash) from stdin") as copy:
        for row in chained(line for n in range(lines) for line in lines_of([entry(n)])):
            copy.write_row(row)


async def append(dsn: str, count: int, at_once: int) -> float:
    """Entries a second, of which `at_once` are asked for at the same time."""
    database = Database(dsn)
    await database.open()
    recorder = Recorder(database, None)
    waiting = asyncio.Semaphore(at_once)

    async def one(n: int) -> None:
        async with waiting:
            await recorder.record(entry(n))

    await recorder.record(entry(0))
    begin = time.perf_counter()
    await asyncio.gather(*(one(n) for n in range(count)))
    took = time.perf_counter() - begin
    await database.close()
    return count / took


def main() -> None:
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else LINES
    keys = parse_master_key(make_master_key())
    with tempfile.TemporaryDirectory(prefix="scad-trail-") as folder:
        Path(folder).chmod(0o711)  # the server runs as nobody when this runs as root
        postgres = Postgres(Path(folder)).start()
        try:
            dsn = postgres.create_database()
            with psycopg.connect(dsn, autocommit=True) as conn:
                apply_schema(conn)
                for at_once in (1, AT_ONCE):
                    rate = asyncio.run(append(dsn, APPENDED // (1 if at_once > 1 else 10), at_once))
                    print(f"append, {at_once} at once: {rate:.0f} entries/s")
                conn.execute("alter table audit.entry disable trigger user")
                conn.execute("delete from audit.entry")
                conn.execute("alter table audit.checkpoint disable trigger user")
                conn.execute("delete from audit.checkpoint")
                fill(conn, lines)
                checkpoint(conn, keys, NOW_MS)
                conn.execute("vacuum analyze audit.entry")
                begin, used = time.perf_counter(), time.process_time()
                report = verify_database(conn, keys)
                took, used = time.perf_counter() - begin, time.process_time() - used
                print(
                    f"verify {report.lines} lines: {took:.1f} s, {used:.1f} s of this process; {report.faults}"
                )
                begin = time.perf_counter()
                found = len(of_patient(conn, entry(0).patients[0]))
                print(f"list of one patient: {found} accesses in {time.perf_counter() - begin:.3f} s")
                row = conn.execute("select pg_total_relation_size('audit.entry')").fetchone()
                print(f"bytes a line with indexes: {int(str(row[0])) / lines if row else 0:.0f}")
        finally:
            postgres.stop()
    print(f"memory of this process at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    main()
