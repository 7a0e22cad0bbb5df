"""How alerts are counted against the truth, on courses made by hand."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from streams.protocols import load_published
from streams.score import Course, Event, Raised, report, tally, wilson
from streams.score_page import render
from streams.score_truth import BASELINES, DAY_MS, HOUR_MS, MINUTE_MS, TARGETS, Target

COMPOSITE = "heart-failure/composite"
DAYS = 100
WITHOUT_EVENTS = {
    "heart-failure/weight-loss",
    "arrhythmia/bradycardia",
    "arrhythmia/implant-event",
    "anticoagulation/ttr-low",
}
"""Clinical rules for which nothing happens in the simulation."""


def day(number: float) -> int:
    return int(number * DAY_MS)


def worsening(onset: float, admission: float) -> Event:
    return Event("decompensation", day(onset), day(admission))


def alert(start: float, end: float | None, raised: float | None = None) -> Raised:
    """From day to day; raised at its start unless the reading came later."""
    return Raised(day(start), None if end is None else day(end), day(start if raised is None else raised))


def course(events, alerts, rule=COMPOSITE, groups=("sex female",)) -> Course:
    return Course(groups, (rule.split("/")[0],), tuple(events), {rule: tuple(alerts)}, day(DAYS))


def counted(events, alerts, rule=COMPOSITE):
    return tally(rule, [course(events, alerts, rule)], DAYS)


def test_an_alert_between_onset_and_admission_finds_the_event():
    one = counted([worsening(10, 20)], [alert(16, 25)])
    assert (one.episodes, one.found, one.alerts, one.true_alerts, one.leads) == (1, 1, 1, 1, [4.0])


def test_onset_and_admission_themselves_still_count():
    assert counted([worsening(10, 20)], [alert(10, 11)]).leads == [10.0]
    assert counted([worsening(10, 20)], [alert(20, 21)]).leads == [0.0]


def test_an_event_without_an_alert_is_not_found():
    one = counted([worsening(10, 20)], [])
    assert (one.episodes, one.found, one.leads) == (1, 0, [])
    assert one.report()["sensitivity"] == 0.0
    assert one.report()["ppv"] is None


def test_an_alert_that_touches_no_event_is_false():
    one = counted([worsening(10, 20)], [alert(30, 40)])
    assert (one.found, one.alerts, one.true_alerts) == (0, 1, 0)
    assert one.report()["false_per_patient_year"] == round(365.25 / DAYS, 4)


def test_an_alert_within_three_days_of_the_admission_finds_nothing_and_is_not_false():
    assert counted([worsening(10, 20)], [alert(23, 24)]).true_alerts == 1
    assert counted([worsening(10, 20)], [alert(23, 24)]).found == 0
    assert counted([worsening(10, 20)], [alert(23.1, 24)]).true_alerts == 0


def test_an_alert_that_was_open_before_the_onset_touches_the_event_but_does_not_find_it():
    for end in (10.0, 15.0, None):
        one = counted([worsening(10, 20)], [alert(5, end)])
        assert (one.found, one.true_alerts) == (0, 1)
    assert counted([worsening(10, 20)], [alert(5, 9.9)]).true_alerts == 0


def test_an_alert_whose_reading_came_after_the_admission_found_nothing():
    """A scale that was offline warned nobody, whatever it measured in time."""
    one = counted([worsening(10, 20)], [alert(15, 25, raised=20.5)])
    assert (one.found, one.true_alerts) == (0, 1)


def test_several_alerts_in_one_event_find_it_once_and_the_first_gives_the_lead():
    one = counted([worsening(10, 20)], [alert(12, 13), alert(15, 16), alert(18, None)])
    assert (one.found, one.alerts, one.true_alerts, one.leads) == (1, 3, 3, [8.0])


def test_one_alert_over_two_events_finds_the_one_in_which_it_was_raised():
    one = counted([worsening(10, 20), worsening(40, 50)], [alert(15, 45)])
    assert (one.episodes, one.found, one.true_alerts) == (2, 1, 1)


def test_an_event_that_stops_after_the_run_is_not_asked_for_and_its_alert_is_not_false():
    one = counted([worsening(95, 105)], [alert(97, None)])
    assert (one.episodes, one.found, one.alerts, one.true_alerts) == (0, 0, 1, 1)


def test_patients_who_are_not_on_the_protocol_do_not_count():
    other = Course(("sex male",), ("diabetes",), (worsening(1, 2),), {COMPOSITE: (alert(1, 2),)}, day(DAYS))
    assert tally(COMPOSITE, [other], DAYS).report()["false_per_patient_year"] is None
    assert tally(COMPOSITE, [other], DAYS).patients == 0


def test_an_event_of_another_sort_is_no_excuse():
    one = counted([Event("infection", day(10), day(20))], [alert(12, 14)])
    assert (one.episodes, one.true_alerts) == (0, 0)


def test_a_rule_without_events_in_the_simulation_is_counted_and_not_judged():
    row = counted([worsening(10, 20)], [alert(30, 31)], rule="heart-failure/weight-loss").report()
    assert row["alerts"] == 1
    assert row["alerts_per_patient_year"] == round(365.25 / DAYS, 4)
    assert [row[name] for name in ("sensitivity", "ppv", "false_per_patient_year")] == [None] * 3


def test_rules_counted_as_one_method_find_an_event_by_the_first_of_them():
    both = Course(
        (), ("heart-failure",), (worsening(10, 20), worsening(50, 60)),
        {COMPOSITE: (alert(15, 16),), "heart-failure/weight-macd": (alert(12, 13), alert(55, 56))}, day(DAYS),
    )  # fmt: skip
    one = tally([COMPOSITE, "heart-failure/weight-macd"], [both], DAYS)
    assert (one.episodes, one.found, one.alerts, one.leads) == (2, 2, 3, [8.0, 5.0])


def test_lows_that_come_back_within_a_quarter_of_an_hour_are_one_event():
    minutes = [(0, 20), (30, 50), (70, 90)]
    lows = [Event("hypoglycaemia", a * MINUTE_MS, b * MINUTE_MS, 60.0) for a, b in minutes]
    found = TARGETS["diabetes/glucose-low"].wanted(lows)
    assert [(e.onset_ms // MINUTE_MS, e.stop_ms // MINUTE_MS) for e in found] == [(0, 50), (70, 90)]


def test_short_highs_are_not_asked_of_a_rule_for_long_ones_and_do_not_make_its_alert_false():
    target = TARGETS["diabetes/glucose-high"]
    short = Event("severe-hyperglycaemia", 0, HOUR_MS, 300.0)
    assert target.wanted([short]) == []
    assert target.related([short]) == [short]


def test_a_prediction_may_come_half_an_hour_before_the_low():
    low = Event("severe-hypoglycaemia", day(10), day(10) + HOUR_MS, 50.0)
    early = Raised(day(10) - 25 * MINUTE_MS, day(10) - 5 * MINUTE_MS, day(10) - 25 * MINUTE_MS)
    one = counted([low], [early], rule="diabetes/glucose-falling")
    assert (one.found, one.true_alerts) == (1, 1)
    one = counted([low], [early], rule="diabetes/glucose-very-low")
    assert (one.found, one.true_alerts) == (0, 0)


def test_every_clinical_rule_is_held_against_something_or_known_to_have_no_event():
    published = load_published().protocols.values()
    clinical = {f"{p.name}/{r.name}" for p in published for r in p.rules if r.cls == "clinical"}
    assert set(TARGETS) | WITHOUT_EVENTS == clinical
    assert not set(TARGETS) & WITHOUT_EVENTS
    assert set(BASELINES.values()) <= set(TARGETS)


def test_the_report_has_the_contract_s_fields_and_groups_that_add_up():
    women = course([worsening(10, 20)], [alert(15, 16)])
    men = course([worsening(10, 20)], [alert(40, 41)], groups=("sex male",))
    whole = report(load_published(), [women, men], 2, DAYS, [5])
    assert (whole["patients"], whole["days"], whole["seed"]) == (2, DAYS, 5)
    row = whole["rules"][COMPOSITE]
    assert {"episodes", "found", "sensitivity", "alerts", "ppv", "false_per_patient_year"} <= set(row)
    assert row["lead_days_median"] == 5.0
    assert set(whole["baselines"]) == set(BASELINES)
    found = {name: rows[COMPOSITE]["found"] for name, rows in whole["groups"].items()}
    assert found == {"sex female": 1, "sex male": 0}
    assert report(load_published(), [], 2, DAYS, [5, 6])["seed"] == [5, 6]


def test_the_page_has_the_tables_the_plot_and_nothing_from_elsewhere():
    women = course([worsening(10, 20)], [alert(15, 16)])
    men = course([worsening(10, 20)], [alert(40, 41)], groups=("sex male",))
    text = render(report(load_published(), [women, men], 2, DAYS, [5, 6]), "2026-11-22")
    assert "2 simulated patients of each seed" in text
    assert "seeds 5, 6" in text
    assert text.count("<circle") == sum(name.startswith("heart-failure/") for name in TARGETS)
    assert re.search(
        r"<caption>heart-failure/composite</caption>.*sex female.*1\.00.*sex male.*0\.00", text, re.S
    )
    assert "http" not in text
    assert "<script" not in text


def test_wilson_s_interval_is_that_of_the_textbook():
    low, high = wilson(81, 263)
    assert (round(low, 3), round(high, 3)) == (0.255, 0.366)  # Newcombe 1998, table I: 81 of 263
    assert wilson(0, 0) is None


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_contains_the_share_and_stays_a_share(counts):
    found, of = counts
    low, high = wilson(found, of)
    assert 0.0 <= low <= found / of + 1e-12
    assert found / of - 1e-12 <= high <= 1.0


SPANS = st.lists(st.tuples(st.floats(0, 90), st.floats(0.1, 10), st.floats(0, 3)), max_size=8)


@given(SPANS, SPANS)
def test_nothing_is_found_without_a_true_alert_and_no_count_exceeds_its_whole(events, alerts):
    happened = [worsening(onset, onset + length) for onset, length, _ in events]
    rang = [alert(start, start + length, start + late) for start, length, late in alerts]
    one = counted(happened, rang)
    assert 0 <= one.found <= one.episodes <= len(happened)
    assert 0 <= one.true_alerts <= one.alerts == len(rang)
    assert len(one.leads) == one.found
    assert all(lead >= 0 for lead in one.leads)


def test_a_target_keeps_events_of_different_sorts_apart():
    target = Target(("a", "b"), joined_ms=DAY_MS)
    events = [Event("a", 0, 10), Event("b", 5, 15), Event("a", 20, 30)]
    assert target.wanted(events) == [Event("a", 0, 30), Event("b", 5, 15)]
