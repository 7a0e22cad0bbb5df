"""What the platform takes: bytes and processor time for a patient and year, and what is saved."""

# ruff: noqa: S608 - the names in braces are parts of queries

from __future__ import annotations

from alerts.dashboards.care_team import TEXT
from alerts.dashboards.parts import TO, Board, Panel, Prom, Sql

UID = "scad-footprint"
YEAR_S = 31_557_600  # 365.25 days

# A small table is mostly its indexes' first pages, so bytes a row say nothing of it.
TABLES = """
select relation, rows_estimate as "rows", bytes,
       case when rows_estimate >= 10000 then bytes::float8 / rows_estimate end as "bytes a row"
  from scad.footprint()
 where bytes > 0
 order by bytes desc, relation
 limit 20
"""

TOTAL = """
select sum(bytes)::float8 as "database"
  from scad.footprint()
"""

# Years that patients have been enrolled. Those since their first reading would ask for a look at every day of each.
WATCHED = f"""
with watched as (
    select sum(extract(epoch from {TO} - enrolled_at))::float8 / {YEAR_S} as years
      from scad.panel_patient
     where enrolled_at < {TO})"""

PATIENT_YEAR = f"""{WATCHED}
select (select sum(bytes) from scad.footprint())::float8 / years as "bytes"
  from watched
 where years > 0
"""

READINGS_YEAR = f"""{WATCHED}
select (select rows_estimate from scad.footprint() where relation = 'scad.reading')::float8 / years as "readings"
  from watched
 where years > 0
"""

SAVED = """
select relation, uncompressed, bytes, 1 - bytes::float8 / nullif(uncompressed, 0) as "saved"
  from scad.footprint()
 where relation in ('scad.reading', 'scad.alert_event', 'scad.quarantine')
 order by relation
"""

# What is older than the time for which it is kept, since the first patient was enrolled, at the rate of what is there.
KEPT = f"""
select r.data, extract(epoch from r.keep)::float8 as "kept for", f.bytes as "bytes now",
       f.bytes * greatest(extract(epoch from {TO} - s.since - r.keep), 0)::float8 / extract(epoch from r.keep)::float8
       as "saved", o.oldest as "oldest"
  from scad.retention r
  join scad.footprint() f on f.relation = 'scad.' || r.data
 cross join (select coalesce(min(enrolled_at), {TO}) as since from scad.panel_patient) s
  left join lateral (
       select case r.data when 'reading' then (select min(measured_at) from scad.reading)
                          else (select min(received_at) from scad.quarantine) end as oldest) o on true
 order by r.data
"""

CPU = f"{YEAR_S} * sum by (job) (rate(process_cpu_seconds_total[1h])) / scalar(sum(scad_worker_patients))"


def board() -> Board:
    return Board(
        uid=UID,
        title="Footprint",
        says="Bytes and processor time for a patient and year; what compression and retention save.",
        since="now-7d",
        refresh="15m",
        rows=[
            (
                "For one patient and year",
                [
                    Panel(
                        "Bytes for a patient and year",
                        "stat",
                        "All tables with their indexes, divided by the years that patients have been enrolled.",
                        "more than 100 MB: is a glucose sensor's data compressed (panel *Saved by compression*)? "
                        "See docs/operation.md for retention.",
                        "decbytes",
                        [Sql(PATIENT_YEAR)],
                        ((None, "green"), (30e6, "orange"), (100e6, "red")),
                        width=6,
                    ),
                    Panel(
                        "Readings for a patient and year",
                        "stat",
                        "Readings, as the planner estimates their number, divided by the years that patients have been "
                        "enrolled.",
                        "more than 150,000 is more than a glucose sensor sends: a device may repeat itself with new "
                        "numbers; look at *Fleet*.",
                        "short",
                        [Sql(READINGS_YEAR)],
                        ((None, "green"), (150_000, "red")),
                        width=6,
                    ),
                    Panel(
                        "Processor time for a patient and year",
                        "timeseries",
                        "Seconds of processor time by process, for one patient and year, at the rate of the last hour.",
                        "a process works ten times as much as it did: was it just restarted, is a backlog worked off? "
                        "Else compare with docs/scale.md.",
                        "s",
                        [Prom(CPU, "{{job}}")],
                        ((None, "green"), (3600, "red")),
                        least=0,
                    ),
                    Panel(
                        "Memory by process",
                        "timeseries",
                        "Resident memory of each kind of process.",
                        "near the limit of compose.yaml (worker: 1 GiB) a process is killed and starts again: add a "
                        "worker (docs/operation.md, *Scaling*).",
                        "bytes",
                        [Prom("max by (job) (process_resident_memory_bytes)", "{{job}}")],
                        ((None, "green"), (966_367_641, "red")),
                        least=0,
                    ),
                ],
            ),
            (
                "The database",
                [
                    Panel(
                        "Database",
                        "stat",
                        "All tables with their indexes.",
                        "compare with the disk: at three quarters make it larger or keep less (table scad.retention).",
                        "decbytes",
                        [Sql(TOTAL)],
                        ((None, "green"), (500e9, "orange"), (2e12, "red")),
                        width=6,
                    ),
                    Panel(
                        "Kept for how long",
                        "table",
                        "What scad.retention says, what that takes now, what is saved by not keeping more (older data "
                        "since the first enrolment, at the rate of what is there), and the oldest that is there.",
                        "nothing here turns red; the oldest being older than *kept for* by more than a week means that "
                        "`scad schema retain` does not run.",
                        "none",
                        [Sql(KEPT)],
                        width=9,
                        units={
                            "kept for": "s",
                            "bytes now": "decbytes",
                            "saved": "decbytes",
                            "oldest": "dateTimeAsLocal",
                        },
                    ),
                    Panel(
                        "Saved by compression",
                        "table",
                        "Bytes before and after; zero on editions without a columnstore, and for the last 60 days.",
                        "nothing here turns red; zero on the community edition after three months means that its "
                        "policy does not run (timescaledb_information.job_stats).",
                        "decbytes",
                        [Sql(SAVED)],
                        width=9,
                        units={"saved": "percentunit", "relation": "none"},
                    ),
                    Panel(
                        "Tables",
                        "table",
                        "The twenty largest tables; rows as the planner estimates them.",
                        "a row of readings that takes more than 2 kB: ECG strips, or an index that has bloated "
                        "(`reindex table concurrently`).",
                        "short",
                        [Sql(TABLES)],
                        ((None, "green"), (2000, "red")),
                        width=24,
                        units={"bytes": "decbytes", "bytes a row": "decbytes"},
                        overrides={"bytes a row": TEXT},
                    ),
                ],
            ),
        ],
    )
