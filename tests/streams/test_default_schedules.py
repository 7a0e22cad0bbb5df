"""What is expected of a patient whose care plan says nothing of a rhythm: the alert for missing readings stands."""

from __future__ import annotations

import msgspec
import pytest

from streams.plans import Schedule
from streams.protocols import ProtocolError, parse
from streams.timeline import PlanError, check_plan
from tests.streams.timeline import LIBRARY, Patient, plan, version

OVERDUE = {
    "heart-failure": (60, "no-reading"),
    "hypertension": (72, "no-reading"),
    "diabetes": (24, "no-reading"),
    "arrhythmia": (72, "no-reading"),
    "respiratory": (60, "no-reading"),
    "anticoagulation": (840, "inr-overdue"),
}
DAY = "2026-02-01 00:00"


def on(protocol: str, **hours: float | tuple[float, float, float]) -> Patient:
    schedule = {kind.replace("_", "-"): said for kind, said in hours.items()}
    return Patient(plan=plan(version(1, DAY, protocol, schedule=schedule)))


def after(hours: int) -> str:
    days, rest = divmod(hours, 24)
    month, day = (2, 1 + days) if days < 28 else (3, days - 27)
    return f"2026-{month:02}-{day:02} {rest:02}:00"


@pytest.mark.parametrize("protocol", sorted(OVERDUE))
def test_a_plan_without_a_schedule_is_watched_by_the_protocols_own_rhythm(protocol: str) -> None:
    hours, rule = OVERDUE[protocol]
    on(protocol).tick(after(hours - 1)).quiet().tick(after(hours)).raised(rule, "medium")


@pytest.mark.parametrize("protocol", sorted(OVERDUE))
def test_without_any_plan_nothing_is_expected(protocol: str) -> None:
    Patient(protocol).tick(DAY).quiet().tick("2026-06-01 00:00").quiet()


def test_a_schedule_of_the_questionnaire_alone_leaves_weight_expected() -> None:
    patient = on("heart-failure", symptoms=24.0).at("2026-02-03 08:00").answers(dyspnoea=0)
    patient.tick(after(60)).raised("no-reading")
    assert patient.sentences("no-reading")[1].startswith("No reading received (weight)")


def test_a_schedule_of_rhythm_recordings_alone_leaves_heart_rate_unexpected() -> None:
    patient = on("arrhythmia", rr_intervals=(24.0, 240.0, 300.0))
    patient.tick(after(200)).quiet().tick(after(240)).raised("no-reading")


def test_a_plan_may_ask_for_readings_more_rarely_or_more_often() -> None:
    on("heart-failure", body_weight=48.0).tick(after(119)).quiet().tick(after(120)).raised("no-reading")
    on("heart-failure", body_weight=12.0).tick(after(30)).raised("no-reading")


def test_a_sensor_of_glucose_is_overdue_after_six_hours_and_high_after_eighteen() -> None:
    patient = on("diabetes", glucose=5 / 60)
    patient.tick(after(5)).quiet().tick(after(6)).raised("no-reading", "medium")
    patient.tick(after(17)).quiet().tick(after(18)).updated("no-reading", "high")


@pytest.mark.parametrize(
    "asked",
    [Schedule(24.0, overdue_hours=337.0), Schedule(200.0), Schedule(24.0, 60.0, grave_hours=2000.0)],
)
def test_a_schedule_that_would_switch_the_alert_off_is_refused(asked: Schedule) -> None:
    care = msgspec.structs.replace(version(3, DAY, "heart-failure"), schedule={"body-weight": asked})
    with pytest.raises(PlanError) as refused:
        check_plan(LIBRARY, plan(care))
    assert "version 3: schedule: body-weight: overdue_hours" in str(refused.value)
    assert "rarer or denser but not switched off" in str(refused.value)


def test_a_protocol_under_which_no_kind_is_expected_by_itself_is_refused() -> None:
    text = """
name = "hypertension"
version = "9"
title = { fr = "x", en = "x" }
[schedule.blood-pressure]
every_hours = 24
[rules.no-reading]
class = "technical"
statistic = "silence"
kinds = ["blood-pressure"]
source = "a test"
fr = "Rien."
en = "Nothing."
"""
    with pytest.raises(ProtocolError, match=r"mine\.toml: rule no-reading: kinds: .*must not switch"):
        parse(text, "mine.toml")
    stands = text.replace("every_hours = 24", 'every_hours = 24\nexpected = "alone"')
    assert parse(stands, "mine.toml").schedule["blood-pressure"].expected == "alone"


def test_a_schedules_unknown_fields_and_words_are_named() -> None:
    text = 'name = "x"\nversion = "1"\ntitle = { fr = "x", en = "x" }\n[schedule.inr]\nweekly = 1\nexpected = "maybe"\n'
    with pytest.raises(ProtocolError) as refused:
        parse(text, "x.toml")
    assert "x.toml: rule schedule.inr: weekly: is not known" in str(refused.value)
    assert "x.toml: rule schedule.inr: expected: is 'maybe': always, alone, asked" in str(refused.value)
