"""A database with years of made-up readings, made by the server itself: a hundred million in half an hour.

Every patient has a weight a day and two blood pressures and heart rates, each twentieth also a glucose sensor (288 a
day). Readings lie in the table in the order in which they would have come, some days are missing, some readings come
hours late. The daily roll-up is computed week by week with one statement; a sample of it is computed again with the
product's own scad.refresh_daily and must not differ. `scad.reading_identity` stays empty: no panel reads it.

What is done is noted in schema `made`, so a run that was interrupted goes on with the week it was at.
"""

# ruff: noqa: S608 - the names in braces are parts of queries; nobody's input is in them

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg

ZONE = "Europe/Paris"
END = "2026-11-01"
"""Local midnight behind the last day: the same whenever the benchmark runs."""
WEEKS = 105  # two years and five days: a range of two years begins with a full one
SENSOR_EVERY = 20  # patients; a sensor's readings are two thirds of all
SENSOR_A_DAY, OTHERS_A_DAY = 288, 5
TAKEN = 0.96  # of the readings asked for; the rest was forgotten
A_PATIENT_A_DAY = TAKEN * (OTHERS_A_DAY + SENSOR_A_DAY / SENSOR_EVERY)
TEAMS = 12
ALERTS_PER_PATIENT_DAY = 0.05  # five for 100 patients a day
REFUSED_SHARE = 0.0002  # of the readings
MEMORY = "1GB"  # for sorting when indexes are made

Connection = psycopg.Connection[Any]
Say = Callable[[str], None]

NOTES = f"""
create schema if not exists made;
create table if not exists made.done (step text primary key, at timestamptz not null default clock_timestamp());
create table if not exists made.definition (name text primary key, sql text not null);
create or replace function made.day(n integer) returns timestamptz language sql immutable as $$
    select ((date '{END}' - {7 * WEEKS} + n)::timestamp at time zone '{ZONE}') $$;
"""

# A patient's pseudonym is drawn from 128 bits (alerts.enrol); here from its number.
PEOPLE = """
insert into scad.care_team (care_team, name) select 'team-' || t, 'Team ' || t from generate_series(1, %(teams)s) t;
insert into scad.patient
select 'p-' || md5('patient' || i), 'team-' || 1 + i %% %(teams)s, made.day(0)
  from generate_series(1, %(patients)s) i;
insert into identity.person (patient, family_name, given_names, birth_date, sex)
select 'p-' || md5('patient' || i), 'Essai', 'Numéro ' || i, date '1930-01-01' + (i * 7919 %% 18000),
       case i %% 2 when 0 then 'female' else 'male' end
  from generate_series(1, %(patients)s) i;
create table made.device as
select i, 'p-' || md5('patient' || i) as patient, k.kind, k.short || '-' || i as device, k.a_day,
       (i * 37 + k.offset_slots) %% 144 as slot
  from generate_series(1, %(patients)s) i
 cross join (values ('body-weight', 'sc', 1, 0), ('blood-pressure', 'bp', 2, 1), ('heart-rate', 'hr', 2, 2),
                    ('glucose', 'gl', 288, 0)) k (kind, short, a_day, offset_slots)
 where k.kind <> 'glucose' or i %% %(every)s = 0;
insert into scad.device select device, 'Model ' || kind, made.day(0) from made.device;
insert into scad.assignment select device, patient, made.day(0), null from made.device;
insert into scad.device_status
select device, case when i %% 12 = 0 then 'offline' else 'online' end, (i * 17) %% 101, '2.' || i %% 4,
       made.day(%(days)s) - (i %% 50) * interval '1 hour'
  from made.device where i %% 200 <> 0;
insert into scad.care_plan (patient, version, from_at, author, document, recorded_at)
select p.patient, v, made.day((v - 1) * 300), 'made up', jsonb_build_object(
       'version', v, 'protocols', jsonb_build_array('heart-failure', 'hypertension')
                                  || case when d.device is null then '[]'::jsonb else '["diabetes"]' end,
       'dry_weight_kg', 70 + v, 'limits', '{"hypertension": {"bp-crisis": {"systolic": 175}}}'::jsonb,
       'schedule', '{"body-weight": {"every_hours": 24}, "blood-pressure": {"every_hours": 12}}'::jsonb),
       made.day((v - 1) * 300)
  from scad.patient p left join made.device d on d.patient = p.patient and d.kind = 'glucose'
 cross join generate_series(1, 2) v;
-- a moment: five minutes of a day, and who measures then, in the order of the day
create table made.moment as
select s as slot, d.patient, d.device, d.kind, d.a_day, row_number() over (partition by d.device order by s) as turn
  from made.device d
 cross join lateral (select generate_series(0, 287) as s where d.kind = 'glucose'
                     union all select d.slot + 144 * t from generate_series(0, d.a_day - 1) t
                      where d.kind <> 'glucose') at
 order by s, md5(d.device);
analyze;
"""

# One week: seven days of moments. Numbers of a device rise without a gap but for what was not measured.
WEEK = f"""
insert into scad.reading (measured_at, device, epoch, seq, digest, patient, kind, value, "values", offset_min,
                          received_at, stored_at)
select at, device, 1, day * a_day + turn, decode(md5(device || day * a_day + turn), 'hex'), patient, kind, value,
       case kind when 'glucose' then ('{{"glucose": ' || value || '}}')::jsonb
                 when 'body-weight' then ('{{"weight": ' || value || '}}')::jsonb
                 when 'heart-rate' then ('{{"heart_rate": ' || value || '}}')::jsonb
                 else ('{{"systolic": ' || value || ', "diastolic": ' || round(value * 0.6) || '}}')::jsonb end,
       60, at + late, at + late + interval '1 second'
  from (select d.day, m.*, made.day(d.day) + m.slot * interval '5 minutes' + random() * interval '4 minutes' as at,
               case when random() < 0.02 then random() * interval '40 hours' else interval '2 seconds' end as late,
               case kind when 'glucose' then round(140 + 35 * random_normal())
                         when 'body-weight' then round(74 + 2 * random_normal()::numeric, 1)
                         when 'heart-rate' then round(74 + 8 * random_normal())
                         else round(134 + 9 * random_normal()) end::float8 as value
          from (select generate_series(%(first)s, %(first)s + 6) as day offset 0) d
         cross join made.moment m
         where random() < {TAKEN}) r
"""

# The days of a week, as scad.refresh_daily computes them one by one.
DAILY = f"""
insert into scad.reading_daily_rows (patient, kind, day, n, min, max, mean, last)
select patient, kind, date_trunc('day', measured_at, '{ZONE}'), count(*), min(value), max(value), avg(value),
       last(value, measured_at)
  from scad.reading
 where measured_at >= made.day(%(first)s) and measured_at < made.day(%(first)s + 7)
   and value is not null and marks = '{{}}'
 group by 1, 2, 3
"""

SAMPLE = """
select r.* from scad.reading_daily_rows r
 where patient in (select patient from scad.patient order by md5(patient) limit 40)
   and day in (select made.day(n * 97 %% %(days)s) from generate_series(1, 50) n)
 order by patient, kind, day
"""

# Nine rules, the noisiest four times as often as the quietest; half is judged; what is younger than two days may wait.
ALERTS = """
create table made.alert as
select md5('alert' || k)::uuid as alert, p.patient, row_number() over (partition by p.patient order by at) as number,
       r.protocol, r.rule, r.severity, at, at + interval '1 minute' as stored, at + interval '7 hours' as over,
       k %% 10 as luck, at > made.day(%(days)s - 2) as young
  from generate_series(1, %(alerts)s) k
 cross join lateral (select made.day(0) + random() * (made.day(%(days)s) - made.day(0)) + k * interval '0' as at) t
  join made.numbered p on p.i = 1 + k * 7919 %% %(patients)s
  join (values (0, 'heart-failure', 'weight-gain-3d', 'high'), (1, 'heart-failure', 'weight-gain-3d', 'high'),
               (2, 'heart-failure', 'dry-weight', 'medium'), (3, 'hypertension', 'bp-crisis', 'high'),
               (4, 'hypertension', 'bp-high', 'medium'), (5, 'hypertension', 'bp-high', 'medium'),
               (6, 'hypertension', 'bp-high', 'low'), (7, 'diabetes', 'glucose-low', 'high'),
               (8, 'diabetes', 'glucose-high', 'medium'), (9, 'arrhythmia', 'tachycardia', 'medium'),
               (10, 'heart-failure', 'no-reading', 'low')) r (turn, protocol, rule, severity) on r.turn = k %% 11;
insert into scad.alert (alert, patient, protocol, protocol_version, rule, class, severity, peak_severity, condition,
       opened_at, last_at, cleared_at, late, value, limit_value, unit, explanation, evidence, first_n, last_n,
       raised_stored_at, changed_at, state, acknowledged_by, acknowledged_at, acknowledged_severity, outcome,
       false_reason, closed_by, closed_at, closed_severity, closed_condition, due_at, shown_at)
select alert, patient, protocol, case when at < made.day(%(days)s / 2) then '2025.1' else '2026.1' end, rule,
       case rule when 'no-reading' then 'technical' else 'clinical' end, severity, severity,
       case when young then 'raised' else 'cleared' end, at, at, case when not young then over end, luck = 3, 2.4, 2.0,
       'kg', '{"fr": "Valeur au-dessus de la limite.", "en": "The value is above the limit."}',
       '[{"device": "made-up", "seq": 1, "measured_at": "2025-01-01T00:00:00Z", "value": 2.4}]',
       number * 2 - 1, number * 2, stored, stored,
       case when young then 'open' when luck < 2 then 'false-alert' when luck < 6 then 'resolved' else 'cleared' end,
       case when not young and luck < 8 then 'infirmiere' end,
       case when not young and luck < 8 then stored + luck * interval '11 minutes' end,
       case when not young and luck < 8 then severity end,
       case when young then null when luck = 2 then 'no-action' when luck = 3 then 'call-made'
            when luck = 4 then 'drug-change' when luck = 5 then 'unreachable' end,
       case when young then null when luck = 0 then 'technique' when luck = 1 then 'limit-too-tight' end,
       case when not young and luck < 6 then 'infirmiere' end,
       case when not young and luck < 6 then stored + interval '3 hours' end,
       case when not young and luck < 6 then severity end,
       case when not young and luck < 6 then 'cleared' end, stored + interval '1 hour', stored
  from made.alert;
insert into scad.alert_event (at, recorded_at, patient, alert, kind, n, event, actor, body)
select case e when 3 then over else at end, stored, patient, alert, case e when 2 then 'action' else 'signal' end,
       case e when 1 then number * 2 - 1 when 3 then number * 2 end,
       (array['raised', 'acknowledged', 'cleared'])[e], case e when 2 then 'infirmiere' else 'engine' end,
       jsonb_build_object('alert', alert, 'patient', patient, 'rule', rule, 'explanation', repeat('made up ', 40))
  from made.alert cross join generate_series(1, 3) e
 where not young or e = 1;
insert into scad.quarantine (id, device, seq, reason, detail, received_at, raw, state, source_topic, source_partition,
       source_offset, stored_at)
select md5('refused' || k), 'xx-' || k %% 300, k, (array['unknown-device', 'not-json', 'clock-ahead'])[1 + k %% 3],
       'made up', at, 'x', case when k %% 3 = 0 then 'open' else 'resolved' end, 'scad.quarantine', 0, k, at
  from generate_series(1, %(refused)s) k
 cross join lateral (select made.day(0) + random() * (made.day(%(days)s) - made.day(0)) + k * interval '0' as at) t;
"""


def patients(millions: float) -> int:
    """How many patients measure that much in the whole time."""
    return max(1, round(millions * 1e6 / (A_PATIENT_A_DAY * 7 * WEEKS)))


def fill(conn: Connection, millions: float, say: Say) -> None:
    """Fill the database, or go on with it. `conn`: the owner, in autocommit mode, schema applied. Raises ValueError
    when the folder was begun with another number."""
    people = patients(millions)
    conn.execute(NOTES)
    asked = f"patients {people}"
    conn.execute(f"set maintenance_work_mem = '{MEMORY}'")
    conn.execute("set work_mem = '256MB'")
    conn.execute("set synchronous_commit = off")
    (other,) = conn.execute(
        "select count(*) from made.done where step like 'patients %%' and step <> %s", [asked]
    ).fetchone()  # type: ignore[misc]
    if other:
        raise ValueError(
            "the folder holds another number of readings: name another --folder, or delete this one"
        )
    figures = {"patients": people, "teams": TEAMS, "every": SENSOR_EVERY, "days": 7 * WEEKS}
    _once(conn, asked, say, lambda: _script(conn, PEOPLE, figures))
    _once(conn, "indexes away", say, lambda: _drop_indexes(conn))
    for week in range(WEEKS):
        first = {"first": 7 * week}
        _once(conn, f"week {week}", say, lambda first=first: _week(conn, first))  # type: ignore[misc]
    _once(conn, "indexes", say, lambda: _make_indexes(conn))
    counted = conn.execute("select sum(n) from scad.reading_daily_rows").fetchone()
    readings = int(counted[0]) if counted else 0
    figures |= {
        "alerts": round(people * 7 * WEEKS * ALERTS_PER_PATIENT_DAY),
        "refused": round(readings * REFUSED_SHARE),
    }
    _once(conn, "alerts", say, lambda: _script(conn, NUMBERED + ALERTS, figures))
    for table in ("scad.reading_daily_rows", "scad.alert", "scad.patient", "scad.reading"):
        _once(conn, f"vacuum {table}", say, lambda table=table: _vacuum(conn, table))  # type: ignore[misc]
    _once(conn, "analyze", say, lambda: conn.execute("analyze"))


NUMBERED = """
create table made.numbered as select row_number() over (order by patient) as i, patient from scad.patient;
create index on made.numbered (i);
"""


def check_sample(conn: Connection) -> int:
    """Compute a sample of days anew with the product's own function; how many. Raises ValueError where one differs."""
    days = {"days": 7 * WEEKS}
    before = conn.execute(SAMPLE, days).fetchall()
    with conn.transaction(force_rollback=True):
        conn.execute(
            "select scad.refresh_daily(%s, %s, %s)",
            [[row[index] for row in before] for index in range(3)],
        )
        after = conn.execute(SAMPLE, days).fetchall()
    # a mean depends on the order in which its readings are added: its last digits may differ
    rounded = [[[*row[:6], round(row[6], 9), row[7]] for row in rows] for rows in (before, after)]
    if not before or rounded[0] != rounded[1]:
        raise ValueError(
            f"the daily roll-up of {len(before)} days differs from what scad.refresh_daily makes of them"
        )
    return len(before)


def _once(conn: Connection, step: str, say: Say, do: Callable[[], object]) -> None:
    if conn.execute("select 1 from made.done where step = %s", [step]).fetchone():
        return
    began = time.perf_counter()
    if step.startswith("vacuum"):  # not within a transaction; again does no harm
        do()
        conn.execute("insert into made.done (step) values (%s)", [step])
    else:
        with conn.transaction():
            do()
            conn.execute("insert into made.done (step) values (%s)", [step])
    say(f"{step}: {time.perf_counter() - began:.1f} s")


def _script(conn: Connection, script: str, figures: dict[str, int]) -> None:
    """Statements one after the other: with parameters psycopg sends one at a time."""
    for statement in filter(str.strip, script.split(";\n")):
        conn.execute(statement % figures)


def _drop_indexes(conn: Connection) -> None:
    """Without its indexes the table takes five times as many readings a second. Their definitions are kept."""
    conn.execute(
        "insert into made.definition select c.conname, format('alter table scad.reading add constraint %I %s',"
        " c.conname, pg_get_constraintdef(c.oid)) from pg_constraint c"
        " where c.conrelid = 'scad.reading'::regclass and c.contype = 'p'"
    )
    conn.execute(
        "insert into made.definition select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)"
        " from pg_index i where i.indrelid = 'scad.reading'::regclass and not i.indisprimary"
    )
    conn.execute("alter table scad.reading drop constraint reading_pkey")
    for (name,) in conn.execute("select name from made.definition where sql like 'CREATE INDEX%'").fetchall():
        conn.execute(f"drop index {name}")


def _make_indexes(conn: Connection) -> None:
    for (definition,) in conn.execute("select sql from made.definition order by name").fetchall():
        conn.execute(definition)


def _week(conn: Connection, first: dict[str, int]) -> None:
    conn.execute("select setseed(%s)", [first["first"] / 1000])
    conn.execute(WEEK % first)
    conn.execute(DAILY % first)


def _vacuum(conn: Connection, table: str) -> None:
    """As autovacuum does it in time: pages are known to hold nothing but what everybody sees."""
    conn.execute(f"vacuum {table}")
