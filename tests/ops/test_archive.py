"""Old readings in Parquet: every row, read back, before anything is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from alerts.schema import apply_schema
from alerts.store import write_readings
from alerts.store.connection import Connection
from devices.readings import Reading
from scad.archive import ArchiveError, archive, summed
from scad.main import build_app

NOW = datetime(2026, 11, 22, tzinfo=UTC)
MS = 86_400_000
START_MS = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1000)


def readings(days: range, seq: int = 0) -> list[Reading]:
    base = Reading(
        device="sc-1",
        seq=0,
        kind="body-weight",
        measured_at_ms=START_MS,
        received_at_ms=START_MS,
        patient="p-1",
        values={"weight": 80.5},
        context={"posture": "standing"},
        flags=("test",),
    )
    return [
        msgspec.structs.replace(
            base, seq=seq + day, measured_at_ms=START_MS + day * MS, received_at_ms=START_MS + day * MS + 5
        )
        for day in days
    ]


@pytest.fixture
def conn(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as conn:
        apply_schema(conn)
        write_readings(conn, readings(range(300)), START_MS)
        yield conn


def count(conn: Connection, relation: str = "scad.reading") -> int:
    row = conn.execute(f"select count(*) from {relation}".encode()).fetchone()
    return int(row[0]) if row else 0


def test_whole_periods_go_to_files_and_only_what_was_read_back_leaves_the_database(
    conn: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = datetime(2026, 6, 1, tzinfo=UTC)
    first = list(archive(conn, tmp_path, before, NOW, drop=False))
    assert count(conn) == 300  # nothing was asked to go
    assert sum(done.rows for done in first) == sum(summed(done.path)[0] for done in first) > 100

    one = pq.read_table(first[0].path).to_pylist()[0]
    assert (one["device"], one["kind"], one["value"], one["flags"]) == ("sc-1", "body-weight", 80.5, ["test"])
    assert msgspec.json.decode(one["values"]) == {"weight": 80.5}
    assert one["measured_at"] == datetime(2026, 1, 5, tzinfo=UTC)

    monkeypatch.setenv("SCAD_DATABASE", database)
    done = CliRunner().invoke(build_app(), ["archive", str(tmp_path), "--before", "2026-06-01", "--drop"])
    assert done.exit_code == 0, done.output
    archived = sum(pq.read_metadata(path).num_rows for path in tmp_path.glob("*.parquet"))
    assert archived == sum(done.rows for done in first)  # the files of before were taken, not written again
    assert count(conn) == count(conn, "scad.reading_identity") == 300 - archived
    assert (tmp_path / "manifest.jsonl").read_text().count("\n") == len(first)

    late = readings(range(3), seq=1000)  # of a device that lay in a drawer
    write_readings(conn, late, START_MS)
    assert [again.path.stem[-2:] for again in archive(conn, tmp_path, before, NOW, drop=True)] == ["-2"]
    assert count(conn) == 300 - archived


def test_a_damaged_file_is_not_believed_and_a_reading_that_comes_meanwhile_stops_the_deletion(
    conn: Connection, database: str, tmp_path: Path
):
    before = datetime(2026, 2, 15, tzinfo=UTC)
    first = next(archive(conn, tmp_path, before, NOW, drop=False))
    first.path.write_bytes(first.path.read_bytes()[:-100])
    again = next(archive(conn, tmp_path, before, NOW, drop=False))
    assert again.path != first.path
    assert summed(again.path)[0] == again.rows

    class Meanwhile:
        """The same connection; somebody else writes a reading before the table is locked."""

        def __getattr__(self, name: str) -> Any:
            return getattr(conn, name)

        def execute(self, query: object, *parameters: object) -> Any:
            if "lock table" in str(query):
                with psycopg.connect(database, autocommit=True) as other:
                    write_readings(other, readings(range(1), seq=2000), START_MS)
            return conn.execute(query, *parameters)  # type: ignore[arg-type]

    with pytest.raises(ArchiveError, match="nothing was deleted"):
        list(archive(Meanwhile(), tmp_path, before, NOW, drop=True))  # type: ignore[arg-type]
    assert count(conn) == 301


def test_what_may_still_be_evaluated_cannot_be_archived(conn: Connection, tmp_path: Path):
    with pytest.raises(ArchiveError, match="36 days"):
        list(archive(conn, tmp_path, NOW - timedelta(days=30), NOW, drop=True))
