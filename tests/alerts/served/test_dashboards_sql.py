"""Every SQL query of the dashboards, run as the role `grafana` on the real database, against figures computed in
Python from the ward's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import platform_figures as platform
import psycopg
import pytest
import team_figures as team
import ward_figures as figures
from dashboards_fixture import AWAY, PRESSURE, WEIGHT, add_to_ward, as_grafana, grant
from made_up_ward import DAY, NOW_MS
from ward_figures import Figures, Row, Rows, read_rows

from alerts.dashboards import boards
from alerts.dashboards.macros import expand
from alerts.dashboards.parts import Sql
from scad.services import Postgres

DATABASE = "scad_dashboards"
TEAMS = ("bayeux", "caen")
PROTOCOLS = ("anticoagulation", "arrhythmia", "diabetes", "heart-failure", "hypertension")
BOARDS = boards()

Expected = Mapping[str, Callable[[Figures], Rows]]
"""Panel to what its query A returns; a further query is named `panel/B`."""

PATIENT: Expected = {
    "Since the last reading": figures.silence,
    "Received more than a day late": figures.late,
    "Readings a day": figures.per_day,
    "Gaps": figures.gaps,
    "Time on the way": figures.delay,
    "Alerts": figures.alert_table,
    "Measurement, limits and what is usual": figures.measured,
    "Measurement, limits and what is usual/B": figures.diastolic,
    "Measurement, limits and what is usual/C": figures.usual,
}
CARE_TEAM: Expected = {
    "Waiting in the queue": team.waiting,
    "How long they have waited": team.ages,
    "Acknowledged within the service time": team.in_time,
    "Time to acknowledge against the service time": team.of_service_time,
    "Time to acknowledge": team.to_acknowledge,
    "Alerts per 100 patients a day": team.rate,
    "Led to an action": team.acted,
    "Judged at all": team.judged,
    "Adherence by tercile": team.terciles,
    "Kept from the queue, by cause": team.kept_back,
    "Noisiest rules": team.noisy_rules,
    "Noisiest patients": team.noisy_patients,
}
QUALITY: Expected = {
    "Rules": platform.by_rule,
    "False alerts by reason": platform.false_reasons,
    "Positive predictive value by month": platform.by_month,
    "By version": platform.by_version,
    "By age and sex": platform.by_people,
}
FLEET: Expected = {
    "Devices by state": platform.states,
    "Battery": platform.battery,
    "Firmware": platform.firmware,
    "Silent devices": platform.silent,
    "Clocks that are wrong": platform.clocks,
    "Refused by reason": platform.refused,
    "Open in quarantine": platform.open_refusals,
}
OTHERWISE = {
    ("patient", "Measurement, limits and what is usual/D"),
    ("patient", "Measurement, limits and what is usual/E"),
    ("patient", "Care plans"),
    *(("footprint", title) for title in ("Bytes for a patient and year", "Readings for a patient and year",
      "Database", "Kept for how long", "Saved by compression", "Tables")),
}  # fmt: skip
"""Queries with a test of their own below."""


@dataclass
class Ground:
    """The database as its owner and as Grafana see it, and how one question is asked."""

    owner: psycopg.Connection[Any]
    grafana: psycopg.Connection[Any]
    rows: dict[str, list[Row]]

    def figures(
        self, days: float, patient: str = WEIGHT, kind: str = "body-weight", teams: Any = TEAMS
    ) -> Figures:
        begin = round(NOW_MS - days * DAY)
        return Figures.of(self.rows, begin, NOW_MS, teams=teams, patient=patient, kind=kind)

    def ask(self, sql: str, f: Figures) -> Rows:
        begin, end = (round(at.timestamp() * 1000) for at in (f.begin, f.end))
        chosen = {"team": f.teams, "patient": f.patient, "kind": f.kind, "protocol": PROTOCOLS}
        return self.grafana.execute(expand(sql, begin, end, chosen)).fetchall()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def ground(postgres: Postgres, ward_template: str) -> Iterator[Ground]:
    address = postgres.create_database(DATABASE, template=ward_template)
    with psycopg.connect(address, autocommit=True) as owner:
        add_to_ward(owner)
        grant(postgres, DATABASE, owner)
        with as_grafana(postgres, DATABASE) as reader:
            yield Ground(owner, reader, read_rows(owner))
    postgres.drop_database(address)


def query(board: str, name: str) -> str:
    title, _, ref = name.partition("/")
    (found,) = (
        q.sql
        for panel in BOARDS[board].panels
        if panel.title == title
        for q in panel.queries
        if isinstance(q, Sql) and q.ref == (ref or "A")
    )
    return found


def same(got: Rows, expected: Rows) -> None:
    """Equal row by row; numbers up to a millionth of themselves."""
    assert len(got) == len(expected), f"{got[:5]} … instead of {expected[:5]} …"
    for one, other in zip(got, expected, strict=True):
        assert len(one) == len(other), f"{one} instead of {other}"
        for a, b in zip(one, other, strict=True):
            if isinstance(a, datetime) or isinstance(b, (datetime, str)) or b is None or a is None:
                assert a == b, f"{one} instead of {other}"
            else:
                assert float(a) == pytest.approx(float(b), rel=1e-4, abs=1e-6), f"{one} instead of {other}"


def test_every_sql_query_of_the_dashboards_has_a_test():
    asked = {
        (name, panel.title if q.ref == "A" else f"{panel.title}/{q.ref}")
        for name, board in BOARDS.items()
        for panel in board.panels
        for q in panel.queries
        if isinstance(q, Sql)
    }
    known = {("patient", name) for name in PATIENT} | {("care-team", name) for name in CARE_TEAM}
    known |= {("protocol-quality", name) for name in QUALITY} | {("fleet", name) for name in FLEET}
    assert asked == known | OTHERWISE


@pytest.mark.parametrize("name", PATIENT)
@pytest.mark.parametrize(
    ("patient", "kind"),
    [(WEIGHT, "body-weight"), ("p-0002", "body-weight"), (PRESSURE, "blood-pressure"), ("p-0011", "glucose")],
)
def test_a_panel_about_a_patient_shows_what_the_readings_say(
    ground: Ground, name: str, patient: str, kind: str
):
    f = ground.figures(28, patient, kind)
    same(ground.ask(query("patient", name), f), PATIENT[name](f))


GAIN = "Measurement, limits and what is usual/E"


@pytest.mark.parametrize("days", [0.25, 1, 3, 7])
@pytest.mark.parametrize("patient", [WEIGHT, "p-0002", "p-0004"])
def test_what_came_before_a_short_range_counts_in_it(ground: Ground, patient: str, days: float):
    f = ground.figures(days, patient)
    same(ground.ask(query("patient", GAIN), f), figures.gain_limit(f))
    for name, expected in PATIENT.items():
        same(ground.ask(query("patient", name), f), expected(f))


def test_in_a_range_of_a_day_the_limit_is_above_the_lowest_of_three_days_and_not_above_todays_weight(
    ground: Ground,
):
    for days in (0.25, 1):
        f = ground.figures(days)
        ((at, limit),) = ground.ask(query("patient", GAIN), f)
        (today,) = (r["value"] for r in f.mine() if r["measured_at"] == at)
        assert limit < today, "the patient gains weight: the line lies below what the scale says"
        ((_, gap),) = ground.ask(query("patient", "Gaps"), f)
        assert 20 * 3600 < gap < 28 * 3600


@pytest.mark.parametrize("days", [91, 730])
def test_beyond_ninety_days_the_days_means_are_drawn(ground: Ground, days: int):
    f = ground.figures(days, PRESSURE, "blood-pressure")
    expected = figures.daily_means(f)
    assert len(expected) == 29
    same(ground.ask(query("patient", "Measurement, limits and what is usual"), f), expected)


@pytest.mark.parametrize(("name", "each"), [("Gaps", figures.gaps), ("Time on the way", figures.delay)])
def test_beyond_ninety_days_the_longest_of_each_day_is_drawn(
    ground: Ground, name: str, each: Callable[[Figures], Rows]
):
    f = ground.figures(91, PRESSURE, "blood-pressure")
    expected = figures.longest_a_day(each(f))
    assert len(expected) == 29
    same(ground.ask(query("patient", name), f), expected)


@pytest.mark.parametrize(
    ("ref", "patient", "kind", "figure"),
    [
        ("D", PRESSURE, "blood-pressure", figures.pressure_limits),
        ("D", WEIGHT, "body-weight", figures.weight_limits),
        ("E", WEIGHT, "body-weight", figures.gain_limit),
        ("E", PRESSURE, "blood-pressure", lambda _: []),
    ],
)
def test_the_limits_drawn_are_those_of_the_plan_in_force(
    ground: Ground, ref: str, patient: str, kind: str, figure: Callable[[Figures], Rows]
):
    f = ground.figures(28, patient, kind)
    same(ground.ask(query("patient", f"Measurement, limits and what is usual/{ref}"), f), figure(f))


def test_the_plans_are_shown_with_their_own_limits_and_without_their_author(ground: Ground):
    f = ground.figures(28)
    first, second = (p["from_at"] for p in f.plans if p["patient"] == WEIGHT)
    assert ground.ask(query("patient", "Care plans"), f) == [
        (2, second, None, "heart-failure", 70.0, '{"heart-failure": {"dry-weight": {"high": 2.5}}}'),
        (1, first, second, "heart-failure", None, "{}"),
    ]


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("patient", [WEIGHT, PRESSURE, "p-0003"])
def test_alerts_are_marked_on_the_curve(ground: Ground, index: int, patient: str):
    marks = BOARDS["patient"].annotations[index]
    f = ground.figures(28, patient)
    same(ground.ask(marks.sql, f), figures.marks(("clinical", "technical")[index])(f))


@pytest.mark.parametrize("name", CARE_TEAM)
@pytest.mark.parametrize(("days", "teams"), [(28, TEAMS), (7, ("caen",))])
def test_a_panel_about_a_team_counts_the_teams_alerts(ground: Ground, name: str, days: int, teams: Any):
    f = ground.figures(days, teams=teams)
    expected = CARE_TEAM[name](f)
    assert expected, "a comparison of nothing with nothing"
    same(ground.ask(query("care-team", name), f), expected)


def test_a_day_without_alerts_is_a_row_of_its_own_and_the_total_is_that_of_all_severities(ground: Ground):
    rows = ground.ask(query("care-team", "Alerts per 100 patients a day"), ground.figures(28))
    by_day: dict[datetime, dict[str, float]] = {}
    for at, line, value in rows:
        by_day.setdefault(at, {})[line] = float(value)
    assert len(by_day) == 29
    assert all(day["all"] == pytest.approx(sum(day.values()) - day["all"]) for day in by_day.values())
    assert {"all": 0.0, "high": 0.0, "low": 0.0, "medium": 0.0} in by_day.values()
    took = ground.ask(query("care-team", "Time to acknowledge"), ground.figures(28))
    assert {at for at, _, _ in took} == set(by_day)
    assert any(value is None for _, _, value in took)


def test_a_time_to_acknowledge_is_judged_by_its_severitys_own_service_time(ground: Ground):
    rows = ground.ask(query("care-team", "Time to acknowledge against the service time"), ground.figures(28))
    by_severity: dict[str, list[float]] = {}
    for _, severity, value in rows:
        by_severity.setdefault(severity, []).extend([] if value is None else [value])
    assert len(by_severity) == 3
    for values in by_severity.values():
        assert min(values) < 1 < max(values)


def test_adherence_over_the_pages_fortnight_is_the_pages(ground: Ground):
    f = ground.figures(13)
    ours, the_pages = team.shares(f), team.shares(f, team.page_share)
    assert ours == the_pages
    assert len({round(one, 3) for own in ours.values() for one in own}) >= 3, "somebody misses measurements"
    same(ground.ask(query("care-team", "Adherence by tercile"), f), team.terciles(f))


def test_a_patient_in_hospital_does_not_count_as_one_who_does_not_measure(ground: Ground):
    f = ground.figures(13)
    in_hospital = team.shares(f)[AWAY]
    f.absences = []
    assert in_hospital == [1.0] > team.shares(f)[AWAY]


@pytest.mark.parametrize("name", QUALITY)
@pytest.mark.parametrize("days", [28, 20])
def test_a_panel_about_protocols_counts_verdicts(ground: Ground, name: str, days: int):
    f = ground.figures(days)
    expected = QUALITY[name](f)
    assert expected, "a comparison of nothing with nothing"
    same(ground.ask(query("protocol-quality", name), f), expected)


@pytest.mark.parametrize("name", FLEET)
def test_a_panel_about_the_fleet_counts_devices(ground: Ground, name: str):
    f = ground.figures(7)
    expected = FLEET[name](f)
    assert expected, "a comparison of nothing with nothing"
    same(ground.ask(query("fleet", name), f), expected)


def test_versions_with_other_outcomes_are_told_apart(ground: Ground):
    rows = ground.ask(query("protocol-quality", "By version"), ground.figures(28))
    shares: dict[tuple[str, str], dict[str, float]] = {}
    for protocol, rule, version, *_, share, _low, _high in rows:
        if share is not None:
            shares.setdefault((protocol, rule), {})[version] = share
    both = [by_version for by_version in shares.values() if len(by_version) == 2]
    assert both
    assert all(set(one) == {"2026.1", "2026.2"} for one in both)
    assert any(one["2026.2"] > one["2026.1"] for one in both)


def test_bytes_and_readings_are_those_of_the_tables_for_the_years_that_were_watched(ground: Ground):
    f = ground.figures(28)
    same(ground.ask(query("footprint", "Readings for a patient and year"), f), platform.readings_a_year(f))
    ((total,),) = ground.ask(query("footprint", "Database"), f)
    ((each,),) = ground.ask(query("footprint", "Bytes for a patient and year"), f)
    assert each == pytest.approx(total / platform.years(f))
    (sizes,) = ground.owner.execute(
        "select sum(pg_total_relation_size(c.oid)) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind = 'r' and (n.nspname in ('scad', 'identity') or c.relname like '\\_hyper\\_%')"
    ).fetchall()
    assert total == pytest.approx(float(sizes[0]), rel=0.02)


def test_the_tables_are_listed_by_size_with_the_bytes_a_row(ground: Ground):
    rows = ground.ask(query("footprint", "Tables"), ground.figures(28))
    names = [row[0] for row in rows]
    assert names[0] == "scad.reading"
    sizes = [row[2] for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    (n,) = ground.owner.execute("select count(*) from scad.reading").fetchone() or (0,)
    assert rows[0][1] == pytest.approx(n, rel=0.1)
    assert rows[0][3] == pytest.approx(rows[0][2] / rows[0][1])
    assert {row[3] for row in rows if row[1] < 10_000} == {None}, "of a small table they say nothing"


def test_nothing_is_saved_where_nothing_is_compressed(ground: Ground):
    rows = ground.ask(query("footprint", "Saved by compression"), ground.figures(28))
    assert [row[0] for row in rows] == ["scad.alert_event", "scad.quarantine", "scad.reading"]
    assert all(before == after and saved == 0 for _, before, after, saved in rows)


def test_what_is_kept_is_shown_with_the_oldest_that_is_there(ground: Ground):
    f = ground.figures(28)
    rows = ground.ask(query("footprint", "Kept for how long"), f)
    assert [(row[0], round(row[1] / 86_400)) for row in rows] == [("quarantine", 365), ("reading", 7305)]
    assert rows[0][4] == min(q["received_at"] for q in f.refused)
    assert rows[1][4] <= min(r["measured_at"] for r in f.readings)
    assert [row[3] for row in rows] == [0, 0], "nobody has been here for longer than anything is kept"


def test_what_retention_saves_is_what_would_have_become_older_than_it_is_kept(ground: Ground):
    f = ground.figures(28)
    f.end += timedelta(days=500)
    since = min(p["enrolled_at"] for p in f.people)
    quarantine, reading = ground.ask(query("footprint", "Kept for how long"), f)
    expected = quarantine[2] * ((f.end - since).total_seconds() / float(quarantine[1]) - 1)
    assert quarantine[3] == pytest.approx(expected)
    assert expected > 0
    assert reading[3] == 0


# ── variables ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_variables_offer_what_there_is(ground: Ground):
    f = ground.figures(28)
    offered = {}
    for name in ("patient", "protocol-quality"):
        for variable in (v.build() for v in BOARDS[name].variables):
            if variable.name != "page":
                offered[variable.name] = [row[0] for row in ground.ask(str(variable.query), f)]
    assert sorted(offered["team"]) == list(TEAMS)
    assert offered["patient"] == sorted(person["patient"] for person in f.people)
    assert offered["kind"] == ["body-weight"]
    assert tuple(offered["protocol"]) == PROTOCOLS


def test_a_name_with_a_quote_in_it_stays_a_name(ground: Ground):
    f = ground.figures(28, patient="p'; drop table scad.alert; --")
    assert ground.ask(query("patient", "Alerts"), f) == []


# ── what the role may see ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "forbidden",
    [
        "select * from identity.person",
        "select * from scad.account",
        "select * from scad.session",
        "select author from scad.care_plan",
        "select snooze_reason from scad.alert",
        "select acknowledged_by from scad.alert",
        "select raw from scad.quarantine",
        "select body from scad.alert_event",
        "select note from scad.manual_reading",
        "select note, kind from scad.absence",
        "select patient from scad.assignment",
        "update scad.panel_team set name = 'x'",
    ],
)
def test_the_role_sees_no_name_no_note_and_nothing_of_who_did_what(ground: Ground, forbidden: str):
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)):
        ground.grafana.execute(forbidden)  # type: ignore[arg-type]


def test_a_function_of_the_feed_tells_the_role_nothing(ground: Ground):
    query = "select * from scad.last_readings('{p-0000}', '{body-weight}', '2000-01-01')"
    assert ground.grafana.execute(query).fetchall() == []


def test_no_view_for_the_dashboards_has_a_column_with_a_name_or_a_text_of_a_person(ground: Ground):
    rows = ground.owner.execute(
        "select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " where c.relname like 'panel\\_%' and a.attnum > 0"
    ).fetchall()
    views = {view for view, _ in rows}
    assert views == {
        "panel_patient",
        "panel_team",
        "panel_alert",
        "panel_plan",
        "panel_absence",
        "panel_device",
    }
    suspicious = {"family_name", "given_names", "birth_date", "ins", "phone", "author", "note", "assignee"}
    assert not {column for _, column in rows} & suspicious
    assert not [
        column for _, column in rows if column.endswith(("_by", "_reason")) and column != "false_reason"
    ]
    assert not [1 for view, column in rows if view == "panel_device" and column == "patient"]


def test_the_synthetic_patient_is_in_no_dashboard(ground: Ground):
    for view in ("panel_patient", "panel_team", "panel_alert"):
        found = ground.grafana.execute(f"select count(*) from scad.{view} where care_team = 'synthetic'")  # type: ignore[arg-type]
        assert found.fetchone() == (0,)


def test_a_morning_of_six_hours_is_asked_as_well(ground: Ground):
    f = ground.figures(0.25, "p-0011", "glucose")
    same(ground.ask(query("patient", "Measurement, limits and what is usual"), f), figures.measured(f))
    same(ground.ask(query("care-team", "Noisiest rules"), f), team.noisy_rules(f))
