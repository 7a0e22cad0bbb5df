"""The benchmarks' parts that need no service: what is measured, how it is judged, and where it is shown."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from bench import latency, recovery, report, scale
from bench.peers import __main__ as peers
from bench.peers import made, rules_taught
from bench.peers.bare import library
from bench.peers.contenders import BARE, PEERS, WORKER
from bench.peers.rules import RULES, VALUE, WeightGain, judge
from bench.peers.stopwatch import Stopwatch
from devices.readings import Reading, from_wire
from devices.times import format_instant
from streams.engine import Engine
from streams.plans import CarePlan, PlanVersion
from streams.protocols import load_published
from streams.record import load_state

BEGIN_MS = 1_790_000_000_000 // made.DAY_MS * made.DAY_MS
DAYS = 16
PATIENTS = 20

CIRCUMSTANCES: dict[str, Any] = {
    "date": "2026-11-22T12:00:00+00:00",
    "machine": {"cpu": "a processor", "cores": 2, "python": "3.11"},
    "load_average_before": [0.1],
    "load_average_after": [2.0],
}


RUNS: list[dict[str, Any]] = [
    {"readings": 1_000, "seconds": seconds, "cpu_seconds": 1.0, "memory_mib": 1.0}
    for seconds in (1.0, 2.0, 4.0)
]


@pytest.fixture(scope="module")
def rows() -> list[made.Row]:
    return list(made.readings(7, 3, DAYS, BEGIN_MS))


def test_the_readings_are_as_many_as_said_in_order_and_the_same_each_time(rows: list[made.Row]) -> None:
    assert len(rows) == made.count(3, DAYS)
    assert [at for at, _, _ in rows] == sorted(at for at, _, _ in rows)
    assert rows == list(made.readings(7, 3, DAYS, BEGIN_MS))
    kinds = Counter(from_wire(value).kind for _, _, value in rows)
    assert kinds == {"glucose": 288 * DAYS, "heart-rate": 4 * 3 * DAYS, "body-weight": 3 * DAYS}


def test_the_three_rules_are_a_protocol_that_the_engine_evaluates(rows: list[made.Row]) -> None:
    engine = Engine(library(BEGIN_MS - 30 * made.DAY_MS))
    found = set()
    for number in range(3):
        state = engine.new_state(made.name_of(number))
        engine.apply(state, plans=[made.plan(number, BEGIN_MS)])
        mine: list[Reading] = [from_wire(value) for _, name, value in rows if name == state.patient]
        found |= {signal.rule for signal in engine.apply(state, mine)}
    assert found
    assert found <= {"weight-gain", "heart-rate", "glucose-below"}


def test_the_rules_of_the_peers_raise_once_until_they_have_been_below_again() -> None:
    rule, raised = WeightGain(), []
    for day, kg in enumerate((80.0, 80.2, 82.5, 82.6, 82.6, 82.6, 82.6, 85.0)):
        raised.append(judge(rule, day * made.DAY_MS, kg) is not None)
    assert raised == [False, False, True, False, False, False, False, True]


def test_a_peers_rule_goes_on_from_its_bytes(rows: list[made.Row]) -> None:
    kept: dict[tuple[str, str], bytes] = {}
    alerts = 0
    for at_ms, patient, value in rows:
        reading = from_wire(value)
        key, rule = (patient, reading.kind), RULES[reading.kind]()
        rule = RULES[reading.kind].unpack(kept[key]) if key in kept else rule
        alerts += judge(rule, at_ms, reading.values[VALUE[reading.kind]]) is not None
        kept[key] = rule.pack()
    assert alerts == peers.alerts_for_speed(rows) > 0


def test_a_taught_rule_goes_on_from_its_json(rows: list[made.Row]) -> None:
    kept: dict[tuple[str, str], bytes] = {}
    alerts = 0
    for at_ms, patient, value in rows:
        reading = from_wire(value)
        key = (patient, reading.kind)
        state = json.loads(kept[key]) if key in kept else None
        number = reading.values[VALUE[reading.kind]]
        state, raised = rules_taught.judge(state, reading.kind, at_ms, number)
        kept[key] = json.dumps(state).encode()
        alerts += raised is not None
    assert alerts == peers.alerts_taught(rows) > 0


def test_the_peers_rules_raise_what_the_engine_raises() -> None:
    engine = Engine(library(BEGIN_MS - 30 * made.DAY_MS), silence_by_ticks=True)
    rows = list(made.readings(7, PATIENTS, DAYS, BEGIN_MS))
    ours = 0
    for number in range(PATIENTS):
        state = engine.new_state(made.name_of(number))
        engine.apply(state, plans=[made.plan(number, BEGIN_MS)])
        mine: list[Reading] = [from_wire(value) for _, name, value in rows if name == state.patient]
        ours += sum(signal.state == "raised" for signal in engine.apply(state, mine))
    assert ours > PATIENTS // 2
    assert peers.alerts_taught(rows) == ours
    assert (
        abs(peers.alerts_for_speed(rows) - ours) <= 1
    )  # the median is taken once a day, and not with each reading


def test_a_stopwatch_tells_readings_time_and_memory(capfd: pytest.CaptureFixture[str]) -> None:
    watch = Stopwatch(expected=4)
    assert [watch.lap(2), watch.lap(), watch.lap()] == [False, False, True]
    watch.print()
    found = capfd.readouterr().out
    assert re.search(r'RESULT \{"readings": 2, "seconds": .*"memory_mib": [1-9]', found), (
        "the first lap is not counted"
    )


def contenders(**rates: int) -> dict[str, Any]:
    line = {"cpu_seconds_per_million": 1.0, "memory_mib": 1, "keeps": "nothing", "alerts": 246}
    return {name: {"readings_per_second": rate, **line} for name, rate in rates.items()}


def test_every_contender_has_a_goal_and_one_that_is_missed_is_named() -> None:
    assert {contender.name for contender in (BARE, *PEERS) if not contender.for_speed} == set(peers.GOALS)
    assert {peer.name.partition(", rules for speed")[0] for peer in PEERS} <= set(peers.GOALS)
    theirs = contenders(**dict.fromkeys(peers.GOALS, 1_000))
    assert peers.missed(contenders(**{WORKER: 30_000}) | theirs) == []
    (fault,) = peers.missed(contenders(**{WORKER: 2_500}) | theirs)
    assert "Faust" in fault
    theirs[BARE.name]["alerts"] = 245
    (fault,) = peers.missed(contenders(**{WORKER: 30_000}) | theirs)
    assert "245" in fault


def test_the_goals_of_latency_and_recovery_are_judged() -> None:
    at_quarter = {"share_of_capacity": 0.25, "p99_ms": 501.0}
    assert len(latency.missed({"latency": [at_quarter]})) == 1
    assert latency.missed({"latency": [at_quarter | {"share_of_capacity": 0.75}]}) == []
    slow = {"patients": 1_000_000, "seconds": 181.0, "memory_mib": 17 * 1024}
    assert len(recovery.missed([slow])) == 2
    assert recovery.missed([slow | {"seconds": 20.0, "memory_mib": 9_000}]) == []


def test_a_table_stands_where_the_page_wants_it_and_again_in_the_same_place() -> None:
    results = {"peers": CIRCUMSTANCES | {"contenders": contenders(**{WORKER: 30_000})}}
    page = "before\n<!-- begin peers -->\nold\n<!-- end peers -->\n<!-- begin recovery -->\n<!-- end recovery -->\n"
    once = report.filled(page, results)
    assert "30,000" in once
    assert "old" not in once
    assert "load average 0.1 before" in once
    assert report.filled(once, results) == once
    assert "30,000" in report.peers_plot(results["peers"])


def test_a_place_stays_as_it_is_until_its_result_is_there() -> None:
    page = (
        "<!-- begin grows -->\n<!-- end grows -->\n<!-- begin distinct -->\nnot yet\n<!-- end distinct -->\n"
    )
    older = {"database": {**CIRCUMSTANCES, "as_written": {}}, "recovery": {**CIRCUMSTANCES, "recovery": []}}
    assert report.filled(page, {}) == page
    assert report.filled(page, older) == page


def test_the_pages_have_a_place_for_every_table() -> None:
    found = [name for page in report.PAGES for name in re.findall(r"<!-- begin (\w+) -->", page.read_text())]
    assert sorted(found) == sorted(report.TABLES)


def test_the_readme_says_what_was_measured() -> None:
    text = report.README.read_text(encoding="utf-8")
    assert report.filled(text, report.kept()) == text, "python -m bench.report"


def test_growth_is_shown_by_the_number_of_patients() -> None:
    growth = [
        {"patients": n, "days": 2, "readings": 600_000, "contenders": contenders(**{WORKER: rate})}
        for n, rate in ((300, 70_000), (10_000, 50_000))
    ]
    table = report.growth_table({"growth": growth})
    assert "| **scad worker** | 70,000; 1 | 50,000; 1 |" in table


def test_the_spread_and_the_alerts_stand_beside_the_median() -> None:
    line = peers.line("nothing", 247, [run | {"alerts": 246} for run in RUNS])
    table = report.peers_table({"contenders": {WORKER: line}})
    assert "| 500 (250 to 1,000) |" in table
    assert "246 (247)" in table


def test_a_patient_year_costs_what_its_readings_cost() -> None:
    costs = {
        "path_us": 500.0,
        "path_us_together": 100.0,
        "evaluation_us": {"body-weight": 40.0, "glucose": 10.0},
        "database_bytes": 600.0,
        "database_bytes_compressed": 200.0,
    }
    weighed = scale.footprint({"body-weight": 1.0}, costs, together=False)
    assert weighed["readings"] == 365
    assert weighed["cpu_seconds"] == pytest.approx(365.25 * 500e-6, abs=0.1)
    sensor = scale.footprint({"glucose": 288.0}, costs, together=True)
    assert sensor["cpu_seconds"] == pytest.approx(288 * 365.25 * 70e-6, abs=0.1)
    assert sensor["megabytes"] == pytest.approx(3 * sensor["megabytes_compressed"], abs=0.01)


def test_a_recorded_state_takes_the_name_that_it_is_given() -> None:
    engine = Engine(load_published(), silence_by_ticks=True)
    version = PlanVersion(version=1, from_=format_instant(BEGIN_MS), protocols=("heart-failure",))
    plan = CarePlan(patient="p-9000001", versions=(version,))
    template = recovery.Template(engine, "p-9000001", plan, [], BEGIN_MS + made.DAY_MS)
    stored = load_state(template.named(b"p-0000042"))
    state = engine.load("p-0000042", stored)
    assert state.plan is not None
    assert (state.plan.patient, engine.dump(state)) == ("p-0000042", stored)
