"""The trail in the database: read, verified, vouched for, kept its time. For commands, as the owner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import chain
from typing import Any, TextIO

import msgspec

from alerts.audit.chain import ANY, Checkpoint, Report, verify, vouch
from alerts.identity.keys import MasterKeys
from alerts.store.connection import Connection
from devices.times import format_instant, from_datetime, to_datetime

FETCH = 20_000  # rows at once from the server-side cursor: some 6 MB


class TrailError(ValueError):
    """What was asked of the trail cannot be done."""


def rows(conn: Connection) -> Iterator[tuple[int, str, bytes]]:
    """Every line in order, without holding all of them."""
    with conn.transaction(), conn.cursor("trail") as cursor:
        cursor.itersize = FETCH
        cursor.execute("select n, line, hash from audit.entry order by n")
        for n, line, hash_ in cursor:
            yield n, line, bytes(hash_)


def checkpoints(conn: Connection) -> list[Checkpoint]:
    found = conn.execute("select n, hash, at, cut, mac from audit.checkpoint order by n").fetchall()
    return [
        Checkpoint(
            n, bytes(hash_), format_instant(from_datetime(at)), cut, None if mac is None else bytes(mac)
        )
        for n, hash_, at, cut, mac in found
    ]


def verify_database(
    conn: Connection, keys: MasterKeys | None, noted: Mapping[int, bytes] | None = None
) -> Report:
    """Look at the whole trail. Lines that are appended meanwhile are not looked at."""
    return verify(rows(conn), checkpoints(conn), keys, noted)


def checkpoint(conn: Connection, keys: MasterKeys | None, now_ms: int) -> tuple[int, bytes] | None:
    """Vouch for the chain as it is now: (line, hash), to be noted elsewhere; None while there is no line."""
    row = conn.execute("select n, hash from audit.entry order by n desc limit 1").fetchone()
    if row is None:
        return None
    n, hash_, at = int(row[0]), bytes(row[1]), format_instant(now_ms)
    mac = vouch(keys, n, hash_, at, False) if keys is not None else None
    conn.execute("select audit.vouch(%s, %s, %s, %s)", (n, hash_, to_datetime(now_ms), mac))
    return n, hash_


def retain(conn: Connection, keys: MasterKeys | None, now_ms: int) -> int:
    """Delete lines older than audit.retention says, leaving their last hash; how many. A trail with a fault is kept
    whole: what was altered must not be tidied away."""
    row = conn.execute(
        "select (%s::timestamptz - keep) from audit.retention", (to_datetime(now_ms),)
    ).fetchone()
    if row is None:
        raise TrailError("audit.retention is empty: `insert into audit.retention default values`")
    before: datetime = row[0]
    last = conn.execute(
        "select n, hash from audit.entry where line::jsonb ->> 'at' < %s"
        " and n < (select coalesce(min(n), 9223372036854775807) from audit.entry"
        "           where line::jsonb ->> 'at' >= %s) order by n desc limit 1",
        (format_instant(from_datetime(before)), format_instant(from_datetime(before))),
    ).fetchone()
    if last is None:
        return 0
    report = verify_database(conn, keys)
    if report.faults:
        raise TrailError(
            f"the trail has a fault ({report.faults[0].words}); nothing is deleted before it is cleared up"
        )
    n, hash_, at = int(last[0]), bytes(last[1]), format_instant(now_ms)
    mac = vouch(keys, n, hash_, at, True) if keys is not None else None
    with conn.transaction():
        gone = conn.execute("select audit.cut(%s, %s, %s)", (n, to_datetime(now_ms), mac)).fetchone()
    return 0 if gone is None else int(gone[0])


class Exported(msgspec.Struct, frozen=True):
    """A line of an export: the trail's line as text, because its bytes are what was hashed, and its hash."""

    hash: str
    line: str


def export(conn: Connection, out: TextIO) -> int:
    """Write every line as JSON {"hash", "line"}; how many. `verify_export` looks at it."""
    count = 0
    for _, line, hash_ in rows(conn):
        out.write(msgspec.json.encode(Exported(hash_.hex(), line)).decode() + "\n")
        count += 1
    return count


def verify_export(lines: TextIO, source: str, noted: Mapping[int, bytes] | None = None) -> Report:
    """Look at an export alone. Where it begins behind a cut, its first line cannot be measured by the one before."""
    found = read_export(lines, source)
    first = next(found, None)
    if first is None:
        return Report()
    n, line, hash_ = first
    begin = () if n == 1 else (Checkpoint(n - 1, ANY, "the export", cut=True),)
    return verify(chain([(n, line, hash_)], found), begin, None, noted)


def read_export(lines: TextIO, source: str) -> Iterator[tuple[int, str, bytes]]:
    """An export as `verify` takes it. Raises TrailError that names the line."""
    for place, text in enumerate(lines, start=1):
        try:
            said = msgspec.json.decode(text, type=Exported)
            yield int(msgspec.json.decode(said.line)["n"]), said.line, bytes.fromhex(said.hash)
        except (msgspec.DecodeError, msgspec.ValidationError, ValueError, KeyError, TypeError) as error:
            raise TrailError(f"{source}, line {place}: no line of an exported trail ({error})") from None


def of_patient(conn: Connection, patient: str) -> list[dict[str, Any]]:
    """The accesses to one patient, oldest first."""
    found = conn.execute(
        "select line from audit.entry where line::jsonb -> 'patients' ? %s order by n", (patient,)
    ).fetchall()
    return [msgspec.json.decode(line) for (line,) in found]
