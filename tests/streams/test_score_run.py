"""The simulated cohort through the engine, and what `scad score` prints of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from devices.decode import decode_payload
from devices.physiology import Cohort
from devices.readings import Reading, Refusal
from scad.main import build_app
from streams import protocols
from streams.score_run import START_MS, TOGETHER_MS, Bell, Raised, courses, deliveries
from streams.score_truth import TARGET_LABELS
from streams.signal import AlertSignal

APP = build_app()
HEART_FAILURE = Path(protocols.__file__).with_name("heart-failure.toml")
SMALL = ("--patients", "8", "--days", "40", "--seed", "3", "--processes", "1")


def scad_score(*arguments: str | Path) -> Result:
    return CliRunner().invoke(APP, ["score", *map(str, arguments)])


@pytest.fixture(scope="module")
def small() -> dict:
    result = scad_score(*SMALL, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_readings_are_those_that_the_platform_decodes_from_what_the_devices_send():
    cohort = Cohort(9, 30, START_MS, 12)
    seen, refused = set(), 0
    for patient in cohort.patients:
        sent = list(cohort.readings(patient))
        decoded = []
        for one in sent:
            [element] = decode_payload(msgspec.json.encode(one.reading), one.device, one.delivered_ms)
            if isinstance(element, Refusal):
                refused += 1
                continue
            decoded.append(msgspec.structs.replace(element, patient=patient.patient))
        groups = list(deliveries(patient.patient, sent))
        assert [reading for _, readings in groups for reading in readings] == decoded
        for last_ms, readings in groups:
            assert len({reading.device for reading in readings}) == 1
            assert readings[-1].received_at_ms <= last_ms
            assert last_ms - readings[0].received_at_ms <= TOGETHER_MS
        seen |= {reading.kind for reading in decoded}
    assert seen >= {"body-weight", "symptoms", "blood-pressure", "glucose", "inr", "rr-intervals"}
    assert refused < 5  # a clock that runs ahead after a reset, at most


def test_each_target_is_a_label_that_the_cohort_produces():
    seen: set[str] = set()
    for seed in range(41, 46):
        cohort = Cohort(seed, 60, START_MS, 200)
        for patient in cohort.patients:
            seen |= {label.what for label in cohort.labels(patient)}
        if seen >= TARGET_LABELS:
            return
    assert seen >= TARGET_LABELS


def test_the_same_seed_gives_the_same_courses_in_any_number_of_processes():
    one = list(courses(6, 30, 3, processes=1))
    told: list[int] = []
    assert list(courses(6, 30, 3, processes=2, done=told.append)) == one
    assert sum(told) == 6
    assert list(courses(6, 30, 4, processes=1)) != one


def test_a_decompensation_stops_where_a_hospital_or_a_treatment_begins():
    cohort = Cohort(3, 40, START_MS, 365)
    found = {}
    for patient, course in zip(cohort.patients, courses_of(cohort), strict=True):
        found |= {(patient.patient, e.onset_ms): e.stop_ms for e in course if e.what == "decompensation"}
    episodes = {
        (p.patient, e.onset_ms): e.peak_ms for p in cohort.patients
        for e in cohort.simulate(p).course.decompensations
    }  # fmt: skip
    assert found == episodes
    admitted = {
        (label.patient, label.onset_ms): label.admission_ms
        for p in cohort.patients
        for label in cohort.labels(p)
        if label.admission_ms is not None
    }
    assert admitted
    assert all(found[key] == admission_ms for key, admission_ms in admitted.items())


def courses_of(cohort: Cohort):
    from streams.score_run import _events

    return [tuple(_events(cohort.simulate(patient))) for patient in cohort.patients]


def signal(n: int, alert: str, state: str, at: str, **more: object) -> AlertSignal:
    return AlertSignal(
        alert=alert, patient="p-1", protocol="heart-failure", protocol_version="1", rule="composite",
        cls=more.pop("cls", "clinical"), severity="medium", state=state, at=f"2026-01-{at}:00Z", explanation={},
        n=n, **more,
    )  # fmt: skip


def days(*of: float) -> list[int]:
    first = 1_767_225_600_000  # 1 January 2026, midnight UTC
    return [first + int((one - 1) * 86_400_000) for one in of]


def test_an_alert_is_raised_when_it_was_told_and_stands_by_the_readings_time():
    bell = Bell()
    start, end, told = days(2, 4, 3)
    bell.hear(signal(1, "a", "raised", "02T00:00"), told)
    bell.hear(signal(2, "a", "updated", "03T00:00"), told)
    bell.hear(signal(3, "a", "cleared", "04T00:00"), told + 1)
    assert bell.by_rule() == {"heart-failure/composite": (Raised(start, end, told),)}


def test_an_alert_that_takes_the_place_of_another_does_not_ring_again():
    bell = Bell()
    start, told, later = days(2, 3, 6)
    bell.hear(signal(1, "a", "raised", "03T00:00"), told)
    bell.hear(signal(2, "a", "cleared", "03T00:00", reason="late-data"), later)
    bell.hear(signal(3, "b", "raised", "02T00:00", supersedes=("a",)), later)
    assert bell.by_rule() == {"heart-failure/composite": (Raised(start, None, told),)}


def test_an_alert_that_late_data_withdrew_has_rung():
    bell = Bell()
    start, later = days(3, 6)
    bell.hear(signal(1, "a", "raised", "03T00:00"), start)
    bell.hear(signal(2, "a", "cleared", "03T00:00", reason="late-data"), later)
    assert bell.by_rule() == {"heart-failure/composite": (Raised(start, start, start),)}


def test_technical_alerts_do_not_ring():
    bell = Bell()
    bell.hear(signal(1, "a", "raised", "03T00:00", cls="technical"), 0)
    assert bell.by_rule() == {}


def test_the_json_is_one_object_with_the_contract_s_fields(small: dict):
    assert (small["patients"], small["days"], small["seed"]) == (8, 40, 3)
    fields = {
        "episodes",
        "found",
        "sensitivity",
        "alerts",
        "ppv",
        "false_per_patient_year",
        "lead_days_median",
    }
    for rows in (small["rules"], small["baselines"]):
        assert all(fields <= set(row) for row in rows.values())
    assert "heart-failure/composite" in small["rules"]
    assert "rule-of-thumb-2kg-3d" in small["baselines"]
    assert {name.split(" ")[0] for name in small["groups"]} >= {"age", "sex"}


def test_a_protocol_alone_has_the_figures_of_the_whole_run(small: dict):
    result = scad_score(*SMALL, "--json", "--only", "heart-failure")
    alone = json.loads(result.stdout)
    assert alone["rules"] == {k: v for k, v in small["rules"].items() if k.startswith("heart-failure/")}
    assert alone["baselines"] == small["baselines"]
    assert list(alone["protocols"]) == ["heart-failure"]


def test_a_protocol_file_changes_the_rule_that_it_changes_and_no_other(small: dict, tmp_path: Path):
    mine = tmp_path / "mine.toml"
    text = HEART_FAILURE.read_text()
    assert text.count("at_least = 2.0\nclear = 1.5") == 1
    mine.write_text(text.replace("at_least = 2.0\nclear = 1.5", "at_least = 0.8\nclear = 0.6"))
    changed = json.loads(scad_score(*SMALL, "--json", "--only", "heart-failure", "--protocol", mine).stdout)
    name = "heart-failure/weight-gain-3d"
    assert changed["rules"][name]["alerts"] > small["rules"][name]["alerts"]
    assert changed["baselines"]["rule-of-thumb-2kg-3d"] == changed["rules"][name]
    for other in ("weight-gain-1d", "weight-gain-7d", "weight-macd", "dry-weight"):
        assert changed["rules"][f"heart-failure/{other}"] == small["rules"][f"heart-failure/{other}"]


def test_the_guide_s_example_changes_one_limit_and_nothing_else(tmp_path: Path):
    guide = (Path(protocols.__file__).parents[2] / "docs/score.md").read_text()
    [(before, after)] = re.findall(
        r'^sed "s/\^(.*?)\$/(.*?)/" streams/protocols/heart-failure.toml', guide, re.M
    )
    mine = tmp_path / "mine.toml"
    mine.write_text(re.sub(f"(?m)^{before}$", after, HEART_FAILURE.read_text()))
    published, changed = protocols.load_file(HEART_FAILURE).rules, protocols.load_file(mine).rules
    differ = [
        (a.name, a.levels, b.levels) for a, b in zip(published, changed, strict=True) if a.levels != b.levels
    ]
    [(name, [old], [new])] = differ
    assert (name, old.limits, new.limits) == ("weight-gain-3d", (2.0,), (1.8,))


def test_several_seeds_are_pooled():
    few = ("--patients", "4", "--days", "20", "--processes", "1", "--only", "heart-failure", "--json")
    rows = [
        json.loads(scad_score(*few, *seeds).stdout)
        for seeds in (("--seed", "3"), ("--seed", "4"), ("--seed", "3", "--seed", "4"))
    ]
    assert rows[2]["seed"] == [3, 4]
    one, two, both = (r["rules"]["heart-failure/weight-gain-1d"] for r in rows)
    for counted in ("patients", "alerts", "episodes"):
        assert both[counted] == one[counted] + two[counted]


def test_the_table_names_every_rule_and_its_interval():
    result = scad_score(*SMALL, "--only", "heart-failure")
    assert result.exit_code == 0
    assert "heart-failure/composite" in result.stdout
    assert "rule-of-thumb-1.36kg-1d" in result.stdout
    assert "false/patient-year" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 130


def test_the_page_of_a_run_in_which_nothing_happened_has_no_plot(tmp_path: Path):
    page = tmp_path / "score.html"
    quiet = ("--patients", "1", "--days", "2", "--seed", "3", "--processes", "1")
    assert scad_score(*quiet, "--html", page).exit_code == 0
    assert "<svg" not in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--patients", "0", "--days", "9", "--seed", "1"), "--patients"),
        (("--patients", "2", "--days", "9"), "--seed"),
        (("--patients", "2", "--days", "9", "--seed", "1", "--only", "gout"), "no such protocol; there are"),
        (("--patients", "2", "--days", "9", "--seed", "1", "--protocol", "none.toml"), "none.toml"),
        (("--patients", "2", "--days", "9", "--seed", "1", "--html", "no/such/folder.html"), "--html"),
    ],
)
def test_wrong_usage_says_what_is_wrong_and_ends_with_2(arguments: tuple[str, ...], message: str):
    result = scad_score(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_a_protocol_file_with_a_fault_is_named_with_rule_and_field(tmp_path: Path):
    mine = tmp_path / "mine.toml"
    mine.write_text(HEART_FAILURE.read_text().replace('statistic = "composite"', 'statistic = "compsite"'))
    result = scad_score("--patients", "2", "--days", "9", "--seed", "1", "--protocol", mine)
    assert result.exit_code == 2
    assert "mine.toml" in result.output
    assert "composite" in result.output


def test_the_readings_of_a_patient_carry_the_pseudonym():
    cohort = Cohort(3, 1, START_MS, 5)
    [patient] = cohort.patients
    readings = [r for _, some in deliveries(patient.patient, cohort.readings(patient)) for r in some]
    assert readings
    assert {reading.patient for reading in readings if isinstance(reading, Reading)} == {patient.patient}
