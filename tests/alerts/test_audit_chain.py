"""The trail: any line that is removed, altered, put elsewhere or written anew is found, and where."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.audit import chain, record
from alerts.audit import store as store_of
from alerts.audit.chain import Checkpoint, chained, verify, vouch
from alerts.audit.entry import PATIENTS_MAX, entry, lines_of
from alerts.identity.keys import make_master_key, parse_master_key
from alerts.store.connection import Connection
from devices.times import format_instant

KEYS = parse_master_key(make_master_key())
DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000
Row = tuple[int, str, bytes]


def trail(count: int) -> list[Row]:
    return list(
        chained(
            lines_of(entry(NOW_MS + n, "infirmiere", "GET /", patients=(f"p-{n}",)) for n in range(count))
        )
    )


def found(rows: list[Row], *points: Checkpoint) -> list[tuple[str, int, int]]:
    return [(f.kind, f.first, f.last) for f in verify(rows, points, KEYS).faults]


def point(row: Row, cut: bool = False) -> Checkpoint:
    at = format_instant(NOW_MS)
    return Checkpoint(row[0], row[2], at, cut, vouch(KEYS, row[0], row[2], at, cut))


@given(st.integers(0, 30))
def test_a_trail_that_nobody_touched_has_no_fault(count: int):
    rows = trail(count)
    report = verify(rows, [point(rows[-1])] if rows else [], KEYS)
    assert (report.faults, report.lines, report.last) == ([], count, count)


@given(st.integers(2, 30), st.data())
def test_removed_lines_are_named(count: int, data: st.DataObject):
    rows = trail(count)
    first = data.draw(st.integers(1, count - 1))
    last = data.draw(st.integers(first, count - 1))
    assert found(rows[: first - 1] + rows[last:]) == [("removed", first, last)]


@given(st.integers(1, 30), st.data())
def test_an_altered_line_is_named_and_no_other(count: int, data: st.DataObject):
    rows = trail(count)
    n = data.draw(st.integers(1, count))
    rows[n - 1] = (n, rows[n - 1][1].replace("infirmiere", "medecin"), rows[n - 1][2])
    assert found(rows) == [("altered", n, n)]


@given(st.integers(2, 30), st.data())
def test_a_line_altered_with_its_hash_shows_at_the_one_behind_it(count: int, data: st.DataObject):
    rows = trail(count)
    n = data.draw(st.integers(1, count - 1))
    line = rows[n - 1][1].replace("infirmiere", "medecin")
    rows[n - 1] = (n, line, chain.digest(rows[n - 2][2] if n > 1 else chain.ZERO, line))
    assert found(rows) == [("altered", n + 1, n + 1)]


@given(st.integers(2, 30), st.data())
def test_exchanged_lines_say_whose_places_they_have(count: int, data: st.DataObject):
    rows = trail(count)
    a, b = sorted(data.draw(st.lists(st.integers(1, count), min_size=2, max_size=2, unique=True)))
    rows[a - 1], rows[b - 1] = (a, *rows[b - 1][1:]), (b, *rows[a - 1][1:])
    kinds = found(rows)
    assert ("reordered", a, a) in kinds
    assert ("reordered", b, b) in kinds


@given(st.integers(2, 30), st.data())
def test_a_trail_written_anew_contradicts_a_checkpoint_and_cannot_forge_one(count: int, data: st.DataObject):
    rows = trail(count)
    kept = point(rows[data.draw(st.integers(1, count)) - 1])
    lines = [line.replace('"GET /"', '"GET /queue"') for line in lines_of_trail(rows)]
    anew = list(chained(lines))
    assert found(anew, kept) == [("rewritten", kept.n, kept.n)]
    forged = Checkpoint(kept.n, anew[kept.n - 1][2], kept.at, False, kept.mac)
    assert found(anew, forged) == [("forged-checkpoint", kept.n, kept.n)]
    noted = verify(anew, (), None, {kept.n: kept.hash})
    assert [fault.kind for fault in noted.faults] == ["rewritten"]


def lines_of_trail(rows: list[Row]) -> list[str]:
    return ["{" + line.split(",", 1)[1] for _, line, _ in rows]


@given(st.integers(2, 30), st.data())
def test_a_missing_end_is_found_by_a_checkpoint_and_a_cut_beginning_is_none(count: int, data: st.DataObject):
    rows = trail(count)
    n = data.draw(st.integers(1, count - 1))
    assert found(rows[:n], point(rows[-1])) == [("ends-early", n + 1, count)]
    report = verify(rows[n:], [point(rows[n - 1], cut=True), point(rows[0])], KEYS)
    assert (report.faults, report.first, report.lines) == ([], n + 1, count - n)
    assert found(rows[n:]) == [("removed", 1, n)]


def test_a_checkpoint_of_a_lost_key_is_counted_and_not_blamed():
    rows = trail(3)
    report = verify(rows, [point(rows[2])], parse_master_key(make_master_key(7)))
    assert (report.faults, report.unvouched) == ([], 1)


def test_very_many_patients_are_several_lines():
    many = tuple(f"p-{n}" for n in range(PATIENTS_MAX + 1))
    lines = lines_of([entry(NOW_MS, "scad enrol", "enrol", patients=many)])
    assert [len(json.loads(line)["patients"]) for line in lines] == [PATIENTS_MAX, 1]


# ── in the database ───────────────────────────────────────────────────────────────────────────────────────


def fill(conn: Connection, *ages_days: int) -> None:
    for age in ages_days:
        record(conn, entry(NOW_MS - age * DAY_MS, "infirmiere", "GET /", patients=("p-1",), why="née «É»\n"))


def test_the_database_chains_as_the_verifier_reads(store: Connection):
    fill(store, 3, 2, 1)
    assert store_of.checkpoint(store, KEYS, NOW_MS) is not None
    report = store_of.verify_database(store, KEYS)
    assert (report.faults, report.lines, report.checkpoints) == ([], 3, 1)
    assert [line["why"] for line in store_of.of_patient(store, "p-1")] == ["née «É»\n"] * 3
    assert store_of.of_patient(store, "p-2") == []
    # whoever owns the table can alter a line, and is found out
    store.execute("alter table audit.entry disable trigger user")
    store.execute("update audit.entry set line = replace(line, 'infirmiere', 'medecin') where n = 2")
    assert [(f.kind, f.first) for f in store_of.verify_database(store, KEYS).faults] == [("altered", 2)]


def test_lines_are_deleted_when_they_were_kept_their_time_and_the_rest_verifies(store: Connection):
    fill(store, 800, 500, 300, 1)
    assert store_of.retain(store, KEYS, NOW_MS) == 2
    assert store_of.retain(store, KEYS, NOW_MS) == 0
    fill(store, 0)
    report = store_of.verify_database(store, KEYS)
    assert (report.faults, report.first, report.last, report.unvouched) == ([], 3, 5, 0)
    out = io.StringIO()
    assert store_of.export(store, out) == 3
    out.seek(0)
    assert store_of.verify_export(out, "export").faults == []
    out.seek(0)
    altered = io.StringIO(out.read().replace("infirmiere", "medecin", 1))
    # of the first line of such an export nobody can tell; it shows at the line behind it, or by a note
    assert store_of.verify_export(altered, "export", {3: report.head}).faults != []


def test_a_trail_with_a_fault_is_not_tidied_away(store: Connection):
    fill(store, 800, 500, 1)
    store.execute("alter table audit.entry disable trigger user")
    store.execute("delete from audit.entry where n = 2")
    with pytest.raises(store_of.TrailError, match="line 2 is missing"):
        store_of.retain(store, KEYS, NOW_MS)


@pytest.mark.parametrize("line", ['{"n":5,"at":"x"}', "[]", "not json", '{"a":1}\n{"b":2}', ""])
def test_what_is_no_line_is_refused_by_the_database(store: Connection, line: str):
    with pytest.raises(Exception, match=r"JSON|json"):
        store.execute("select audit.append(%s)", ([line],))
    assert store_of.verify_database(store, None).lines == 0


@settings(max_examples=20)
@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3).map(json.dumps))
def test_no_export_breaks_the_reader(text: str) -> Any:
    with pytest.raises(store_of.TrailError, match="line 1: no line of an exported trail"):
        store_of.verify_export(io.StringIO(text), "file")
