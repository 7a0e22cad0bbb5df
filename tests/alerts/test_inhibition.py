"""What keeps an alert from the queue, as small timelines; and that it does not depend on the order of rows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rows import HOUR, MINUTE, T0, made

from alerts.inhibition import ALONE, PROBLEMS, Absence, Surroundings, problem_of, settle
from alerts.row import AlertRow
from streams.protocols import load_published

HOME = Surroundings()


def at_home(*rows: AlertRow, now: int = T0) -> list[tuple[str, Any]]:
    """The events of settling these rows, as (event, what hides or hid it)."""
    events = settle(rows, HOME, now).consequences
    return [(c.event, c.body.get("by") or c.body.get("reason") or c.body.get("was")) for c in events]


def away(kind: str, hours: int = 24) -> Surroundings:
    return Surroundings(absences=(Absence(absence=1, kind=kind, from_ms=T0, to_ms=T0 + hours * HOUR),))


def ended(name: str, hours: float, **changes: Any) -> AlertRow:
    """An episode that people saw and that ended `hours` after T0."""
    at = T0 + int(hours * HOUR)
    return made(name, severity="medium", condition="cleared", cleared_at=at, shown_at=T0, **changes)


def new(**changes: Any) -> AlertRow:
    """A medium episode that opened two hours after T0, one after the other had ended."""
    return made("2", **{"severity": "medium", "opened_at": T0 + 2 * HOUR, **changes})


def test_a_graver_alert_shows_its_milder_kin_inside():
    high, low = made("high", rule="glucose-very-low"), made("low", rule="glucose-low", severity="medium")
    assert at_home(high, low) == [("inhibited", high.alert)]
    assert (low.inhibited_by, high.inhibited_by) == (high.alert, None)


def test_the_milder_one_comes_back_when_the_graver_one_closes_while_it_still_holds():
    high, low = made("high", rule="glucose-very-low"), made("low", rule="glucose-low", severity="medium")
    at_home(high, low)
    high.closed_at, high.closed_by, high.closed_severity, high.state = T0, "anne", "high", "resolved"
    assert at_home(high, low) == [("released", "inhibited")]
    assert low.inhibited_by is None


def test_strangers_and_opposite_dangers_stay_apart():
    rows = [
        made("a", rule="bp-crisis"),
        made("b", rule="bp-low"),
        made("c", rule="inr-high", severity="medium"),
    ]
    assert at_home(*rows) == []


def test_kin_of_the_same_severity_are_gathered_in_the_first():
    first = made("1", rule="weight-gain-1d", severity="medium")
    second = made("2", rule="weight-gain-7d", severity="medium", raised_stored_at=T0 + MINUTE)
    assert at_home(second, first) == [("inhibited", first.alert)]


def test_a_high_one_that_comes_after_somebody_dealt_with_the_first_stands_by_itself():
    dealt = {"acknowledged_by": "anne", "acknowledged_at": T0 + HOUR, "acknowledged_severity": "high"}
    first = made("1", rule="weight-gain-3d", **dealt)
    inside = made("2", rule="composite", raised_stored_at=T0 + MINUTE)
    news = made("3", rule="dry-weight", raised_stored_at=T0 + 2 * HOUR)
    assert at_home(first, inside, news, now=T0 + 2 * HOUR) == [("inhibited", first.alert)]
    assert (inside.inhibited_by, news.inhibited_by) == (first.alert, None)
    assert news.rang_at is not None


def test_no_reading_is_never_hidden_and_shows_the_devices_fault_inside():
    fault = made("fault", rule="device-fault", severity="medium", cls="technical")
    silence = made("silence", rule="no-reading", severity="low", cls="technical")
    assert at_home(fault, silence) == [("inhibited", silence.alert)]
    again = made("again", rule="no-reading", severity="high", cls="technical", protocol="hypertension")
    at_home(fault, silence, again)
    assert not silence.hidden
    assert not again.hidden


def test_a_rule_is_quiet_for_twelve_hours_after_a_medium_episode_ended():
    before, new = ended("1", 1), made("2", severity="medium", opened_at=T0 + 3 * HOUR)
    assert at_home(before, new, now=T0 + 3 * HOUR) == [("suppressed", "refractory")]
    assert new.suppressed_until == T0 + 13 * HOUR
    assert at_home(before, new, now=T0 + 13 * HOUR - 1) == []
    assert at_home(before, new, now=T0 + 13 * HOUR) == [("released", "refractory")]
    assert new.shown_at == T0 + 13 * HOUR


def test_it_is_quiet_for_four_hours_after_a_high_one():
    before = ended(
        "1", 1, peak_severity="high", acknowledged_by="a", acknowledged_at=T0, acknowledged_severity="high"
    )
    new = made("2", severity="medium", opened_at=T0 + 2 * HOUR)
    at_home(before, new, now=T0 + 2 * HOUR)
    assert new.suppressed_until == T0 + 5 * HOUR


@pytest.mark.parametrize(
    ("what", "before", "new"),
    [
        ("a rise in severity breaks it", ended("1", 1), made("2", opened_at=T0 + 2 * HOUR)),
        (
            "high is never held back",
            ended("1", 1, peak_severity="high", acknowledged_by="a", acknowledged_at=T0, acknowledged_severity="high"),
            made("2", opened_at=T0 + 2 * HOUR),
        ),
        (
            "another rule is not meant",
            ended("1", 1),
            made("2", rule="bp-low", severity="medium", opened_at=T0 + 2 * HOUR),
        ),
        ("what had no cause begins none", ended("1", 1, reason="late-data"), new()),
        ("what nobody saw begins none", msgspec.structs.replace(ended("1", 1), shown_at=None), new()),
        ("what people have seen stays", ended("1", 1), new(shown_at=T0)),
        (
            "no reading is the law's",
            ended("1", 1, rule="no-reading", cls="technical"),
            new(rule="no-reading", cls="technical"),
        ),
    ],
)  # fmt: skip
def test_what_a_refractory_period_does_not_hold_back(what: str, before: AlertRow, new: AlertRow):
    assert at_home(before, new, now=T0 + 2 * HOUR) == []
    assert not new.hidden


def test_a_rise_in_severity_lets_an_alert_out_at_once_and_it_rings():
    before, new = ended("1", 1), made("2", severity="medium", opened_at=T0 + 2 * HOUR)
    at_home(before, new, now=T0 + 2 * HOUR)
    new.severity = new.peak_severity = "high"
    events = settle([before, new], HOME, T0 + 3 * HOUR).consequences
    assert [(c.event, c.body) for c in events] == [("released", {"was": "refractory", "ring": True})]


def test_in_hospital_everything_waits_but_the_legal_no_reading():
    rows = [made("1"), made("2", rule="bp-low", severity="medium")]
    silence = made("3", rule="no-reading", cls="technical", severity="medium")
    settled = settle([*rows, silence], away("hospital"), T0)
    assert [c.body["reason"] for c in settled.consequences] == ["absence", "absence"]
    assert [row.suppressed_until for row in rows] == [T0 + 24 * HOUR] * 2
    assert not silence.hidden
    assert {c.event for c in settle([*rows, silence], HOME, T0 + 24 * HOUR).consequences} == {"released"}
    assert rows[0].rang_at == T0 + 24 * HOUR


def test_on_holiday_a_high_clinical_alert_is_seen_all_the_same():
    high, medium = made("1"), made("2", rule="bp-low", severity="medium")
    settle([high, medium], away("holiday"), T0)
    assert (high.suppressed, medium.suppressed) == (None, "absence")


def test_an_alert_rings_once_in_its_life():
    row = made()
    assert settle([row], HOME, T0).ringing == {row.alert}
    row.acknowledged_by, row.acknowledged_at, row.acknowledged_severity, row.state = (
        "a",
        T0,
        "high",
        "acknowledged",
    )
    settle([row], HOME, T0 + HOUR)
    row.acknowledged_by = row.acknowledged_at = row.acknowledged_severity = None
    row.state = "open"
    assert settle([row], HOME, T0 + 2 * HOUR).ringing == set()


def test_medium_alerts_that_wait_are_told_of_in_the_morning():
    medium, high = made("1", rule="bp-low", severity="medium"), made("2")
    at_home(medium, high)
    assert (medium.in_digest, high.in_digest) == (True, False)
    medium.state = "acknowledged"
    at_home(medium, high)
    assert not medium.in_digest


def test_every_rule_of_a_problem_is_a_rule_that_exists_and_in_one_problem_only():
    published = {rule.name for protocol in load_published().protocols.values() for rule in protocol.rules}
    named = [rule for rules in PROBLEMS.values() for rule in rules]
    assert len(named) == len(set(named))
    assert set(named) - published <= {"device-offline"}
    assert problem_of("inr-low") == "inr-low"


def test_every_published_rule_has_kin_or_stands_alone_for_a_reason():
    published = {rule.name for protocol in load_published().protocols.values() for rule in protocol.rules}
    named = {rule for rules in PROBLEMS.values() for rule in rules}
    assert published - named == set(ALONE)
    assert all(ALONE.values())


def test_a_crisis_shows_the_high_pressure_inside_itself():
    fields = {"protocol": "hypertension", "opened_at": T0, "raised_stored_at": T0}
    high = made("1", rule="bp-high", severity="medium", **fields)
    crisis = made("2", rule="bp-crisis", **fields)
    settle([high, crisis], HOME, T0)
    assert (crisis.hidden, high.inhibited_by) == (False, crisis.alert)


RULES = ["weight-gain-1d", "weight-gain-3d", "composite", "bp-low", "no-reading"]


@st.composite
def alerts(draw: st.DrawFn, number: int) -> AlertRow:
    severity = draw(st.sampled_from(["low", "medium", "high"]))
    opened = T0 + draw(st.integers(0, 10)) * HOUR
    over = draw(st.booleans())
    return made(
        str(number),
        rule=draw(st.sampled_from(RULES)),
        severity=severity,
        opened_at=opened,
        raised_stored_at=opened + draw(st.integers(0, 3)) * HOUR,
        condition="cleared" if over else "raised",
        cleared_at=opened + draw(st.integers(0, 5)) * HOUR if over else None,
        shown_at=draw(st.sampled_from([None, opened])),
    )


@given(data=st.data())
def test_what_hides_what_does_not_depend_on_the_order_of_the_rows_and_settling_twice_changes_nothing(
    data: st.DataObject,
):
    rows = [data.draw(alerts(n)) for n in range(data.draw(st.integers(0, 6)))]
    kinds = data.draw(st.lists(st.sampled_from(["hospital", "holiday"]), max_size=1))
    around = Surroundings(
        absences=tuple(Absence(absence=1, kind=kind, from_ms=T0, to_ms=T0 + 12 * HOUR) for kind in kinds)
    )
    now = T0 + data.draw(st.integers(0, 20)) * HOUR
    shuffled = [msgspec.structs.replace(row) for row in data.draw(st.permutations(rows))]
    settle(rows, around, now)
    settle(shuffled, around, now)
    assert sorted(rows, key=lambda row: row.alert) == sorted(shuffled, key=lambda row: row.alert)
    visible = {row.alert for row in rows if row.state in ("open", "acknowledged") and not row.hidden}
    for row in rows:
        assert row.inhibited_by is None or row.inhibited_by in visible
    again = [msgspec.structs.replace(row) for row in rows]
    assert settle(again, around, now).consequences == []
    assert again == rows
