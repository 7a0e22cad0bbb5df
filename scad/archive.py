"""Old readings into Parquet files, and out of the database once every row of them was read back.

A period (a chunk of TimescaleDB, else a calendar month in UTC) becomes one file, `readings-20260101-20260108.parquet`.
What is counted is not the file's own word: it is read again, and its number of rows and its checksum are compared with
what the database says in the transaction that deletes. A reading that came meanwhile stops the deletion.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from alerts.store.connection import Connection

ROWS = 50_000
"""Rows of one row group: some 5 MB in memory, few enough to bound what is held, enough to compress."""
AT_LEAST_DAYS = 36  # as scad.apply_retention: a reading may come 35 days late

SCHEMA = pa.schema(
    [
        ("measured_at", pa.timestamp("us", tz="UTC")),
        ("device", pa.string()),
        ("epoch", pa.int64()),
        ("seq", pa.int64()),
        ("digest", pa.binary(16)),
        ("patient", pa.string()),
        ("kind", pa.string()),
        ("value", pa.float64()),
        ("values", pa.string()),
        ("flags", pa.list_(pa.string())),
        ("context", pa.string()),
        ("marks", pa.list_(pa.string())),
        ("offset_min", pa.int16()),
        ("too_late", pa.bool_()),
        ("received_at", pa.timestamp("us", tz="UTC")),
        ("stored_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""The table's columns; `values` and `context` are JSON texts. `patient` is a pseudonym; no name is in it."""

_ROWS = """
select measured_at, device, epoch, seq, digest, patient, kind, value, "values"::text, flags, context::text, marks,
       offset_min, too_late, received_at, stored_at
  from scad.reading where measured_at >= %s and measured_at < %s order by measured_at, device, epoch, seq, digest"""

_CHUNKS = """
select range_start, range_end from timescaledb_information.chunks
 where hypertable_schema = 'scad' and hypertable_name = 'reading' and range_end <= %s order by range_start"""

_MONTHS = """
select distinct date_trunc('month', measured_at at time zone 'UTC') at time zone 'UTC',
       (date_trunc('month', measured_at at time zone 'UTC') + interval '1 month') at time zone 'UTC'
  from scad.reading where measured_at < date_trunc('month', %s at time zone 'UTC') at time zone 'UTC' order by 1"""

_SUM = """
select count(*), coalesce(sum(('x' || substr(
           md5(device || ' ' || epoch || ' ' || seq || ' ' || encode(digest, 'hex')), 1, 14))::bit(56)::bigint), 0)
  from scad.reading where measured_at >= %s and measured_at < %s"""


class ArchiveError(RuntimeError):
    """What could not be archived, and the remedy; nothing of it was deleted."""


@dataclass(frozen=True)
class Archived:
    """One period: its files together hold `rows` rows; `dropped` says whether they left the database."""

    begin: datetime
    end: datetime
    rows: int
    path: Path
    dropped: bool


def archive(
    conn: Connection, folder: Path, before: datetime, now: datetime, drop: bool
) -> Iterator[Archived]:
    """Write every whole period before `before` and, with `drop`, delete it. `conn`: the owner, in autocommit mode.

    Raises ArchiveError; periods that were yielded are done, and the same call goes on where it stopped.
    """
    if (now - before).days < AT_LEAST_DAYS:
        raise ArchiveError(
            f"readings of the last {AT_LEAST_DAYS} days cannot be archived: one may still come, and is evaluated with "
            "those before it. Choose an earlier date"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArchiveError(f"{folder}: {error.strerror}") from None
    for begin, end in periods(conn, before):
        if (done := _period(conn, folder, begin, end, now, drop)) is not None:
            yield done


def periods(conn: Connection, before: datetime) -> list[tuple[datetime, datetime]]:
    """(begin, end) of every period that ends by `before` and may hold readings, the oldest first."""
    row = conn.execute("select to_regclass('timescaledb_information.chunks') is not null").fetchone()
    query = _CHUNKS if row and row[0] else _MONTHS
    return [(begin, end) for begin, end in conn.execute(query.encode(), (before,)).fetchall()]


def _period(
    conn: Connection, folder: Path, begin: datetime, end: datetime, now: datetime, drop: bool
) -> Archived | None:
    wanted = _sum(conn, begin, end)
    if not wanted[0]:
        return None
    path = folder / f"readings-{begin.astimezone(UTC):%Y%m%d}-{end.astimezone(UTC):%Y%m%d}.parquet"
    if not path.exists() or summed(path) != wanted:
        path = _free(path)
        _write(conn, path, begin, end)
    if summed(path) != wanted:
        raise ArchiveError(
            f"{path.name} holds {summed(path)[0]} rows and the database {wanted[0]}: readings came meanwhile, or the "
            "disk is faulty. Nothing was deleted: run it again"
        )
    if drop:
        _drop(conn, begin, end, wanted, now)
    return Archived(begin, end, wanted[0], path, drop)


def _write(conn: Connection, path: Path, begin: datetime, end: datetime) -> None:
    new = path.with_suffix(".new")
    try:
        with (
            pq.ParquetWriter(new, SCHEMA, compression="zstd") as writer,
            conn.transaction(),
            conn.cursor(name="archive") as cursor,  # on the server: memory holds one row group
        ):
            cursor.execute(_ROWS, (begin, end))
            while rows := cursor.fetchmany(ROWS):
                writer.write_table(_table(rows))
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.rename(path)
    finally:
        new.unlink(missing_ok=True)


def _table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA
    )


def summed(path: Path) -> tuple[int, int]:
    """(rows, checksum) of a file as it can be read back; (0, 0) for one that cannot."""
    try:
        table = pq.read_table(path, columns=["device", "epoch", "seq", "digest"])
    except (pa.ArrowInvalid, OSError):
        return 0, 0
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return table.num_rows, sum(
        int(
            hashlib.md5(f"{device} {epoch} {seq} {digest.hex()}".encode(), usedforsecurity=False).hexdigest()[
                :14
            ],
            16,
        )
        for device, epoch, seq, digest in rows
    )


def _sum(conn: Connection, begin: datetime, end: datetime) -> tuple[int, int]:
    rows, digests = conn.execute(_SUM, (begin, end)).fetchone() or (0, 0)
    return int(rows), int(digests)


def _drop(conn: Connection, begin: datetime, end: datetime, wanted: tuple[int, int], now: datetime) -> None:
    """Delete everything before `end`, of which the archive holds all: earlier periods went before."""
    with conn.transaction():
        conn.execute("lock table scad.reading in share row exclusive mode")  # writers wait, for seconds
        left = conn.execute(
            "select min(measured_at) from scad.reading where measured_at < %s", (end,)
        ).fetchone()
        if _sum(conn, begin, end) != wanted or (left and left[0] is not None and left[0] < begin):
            raise ArchiveError(
                f"readings before {end:%Y-%m-%d} came meanwhile: nothing was deleted, run it again"
            )
        conn.execute("select scad.apply_retention(%s, %s)", (now - end, now))


def _free(path: Path) -> Path:
    """A name that is not taken: what came after a period was archived goes into a file beside it."""
    number = 1
    chosen = path
    while chosen.exists():
        number += 1
        chosen = path.with_stem(f"{path.stem}-{number}")
    return chosen


def manifest(folder: Path) -> str:
    """One line a file: name, rows, SHA-256. To be kept elsewhere, so that a file that went is missed."""
    lines = []
    for path in sorted(folder.glob("readings-*.parquet")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(
            json.dumps({"file": path.name, "rows": pq.read_metadata(path).num_rows, "sha256": digest})
        )
    return "".join(f"{line}\n" for line in lines)


def start_of_day(text: str) -> datetime:
    """A date as it is typed, at its begin in UTC. Raises ArchiveError."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise ArchiveError(f"--before {text!r} is no date: write it as 2025-01-01") from None
