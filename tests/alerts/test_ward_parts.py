"""The pure parts of the ward's pages: previews, guidance, forms, and what differs between two plans."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import FormData

from alerts.feed.formats import DAY_MS, Formats
from alerts.feed.texts import Texts
from alerts.feed.ward.differences import differences
from alerts.feed.ward.forms import Form, local_input
from alerts.feed.ward.guidance import Guidance, guide, next_test
from alerts.feed.ward.limit_fields import limit_fields
from alerts.feed.ward.picture import draw_change
from alerts.feed.ward.plan_form import read_version, values_of
from alerts.feed.ward.preview import concerned, preview
from devices.readings import Reading
from devices.times import format_instant, parse_instant
from streams.plans import PlanVersion
from streams.protocols import load_published

LIBRARY = load_published()
NOW_MS = parse_instant("2026-11-22T09:42:00Z")[0]
BEGIN_MS = NOW_MS - 90 * DAY_MS
ENGLISH = Texts("en")

PLAN = PlanVersion(version=1, from_=format_instant(BEGIN_MS), protocols=("heart-failure",))


def with_gain(limit: float) -> PlanVersion:
    return msgspec.structs.replace(
        PLAN, version=2, limits={"heart-failure": {"weight-gain-3d": {"limit": limit}}}
    )


def weights(values: list[float]) -> list[Reading]:
    first = NOW_MS - len(values) * DAY_MS
    return [
        Reading(
            device="sc-1",
            seq=place + 1,
            kind="body-weight",
            measured_at_ms=first + place * DAY_MS,
            received_at_ms=first + place * DAY_MS,
            values={"weight": value},
            patient="p-1",
        )
        for place, value in enumerate(values)
    ]


lives = st.lists(st.integers(790, 830).map(lambda tenths: tenths / 10), min_size=1, max_size=60).map(weights)


@settings(max_examples=15, deadline=None)
@given(lives)
def test_a_plan_against_itself_changes_nothing(readings: list[Reading]):
    same = msgspec.structs.replace(PLAN, limits={"heart-failure": {"weight-gain-3d": {"limit": 2.0}}})
    answer = preview(LIBRARY, readings, PLAN, same, BEGIN_MS, NOW_MS)
    assert answer.differing == ()


@settings(max_examples=15, deadline=None)
@given(lives, st.data())
def test_the_order_of_the_stored_readings_does_not_matter(readings: list[Reading], data: st.DataObject):
    shuffled = data.draw(st.permutations(readings))
    assert preview(LIBRARY, readings, PLAN, with_gain(1.0), BEGIN_MS, NOW_MS) == preview(
        LIBRARY, shuffled, PLAN, with_gain(1.0), BEGIN_MS, NOW_MS
    )


@settings(max_examples=15, deadline=None)
@given(lives, st.sampled_from([0.6, 1.0, 1.5, 3.0]))
def test_forth_and_back_are_mirror_images(readings: list[Reading], limit: float):
    forth = preview(LIBRARY, readings, PLAN, with_gain(limit), BEGIN_MS, NOW_MS)
    back = preview(LIBRARY, readings, with_gain(limit), PLAN, BEGIN_MS, NOW_MS)
    assert (forth.added, forth.gone, forth.moved) == (back.gone, back.added, back.moved)


def test_a_tighter_limit_shows_the_alert_it_would_have_raised():
    readings = weights([80.0] * 20 + [80.8, 81.7] + [80.0] * 20)
    answer = preview(LIBRARY, readings, PLAN, with_gain(1.5), BEGIN_MS, NOW_MS)
    [change] = [rule for rule in answer.differing if rule.rule == "weight-gain-3d"]
    assert (len(change.before), len(change.after), len(change.added)) == (0, 1, 1)
    picture = draw_change(change, answer, Formats(ENGLISH))
    assert picture.count('class="would high"') == 1
    assert "0 alerts with the present plan, 1 with the proposed one" in picture


def test_only_the_protocols_that_a_change_concerns_are_evaluated():
    both = msgspec.structs.replace(PLAN, protocols=("heart-failure", "diabetes"))
    tighter = msgspec.structs.replace(both, limits={"heart-failure": {"weight-gain-3d": {"limit": 1.5}}})
    assert concerned(both, tighter) == ("heart-failure",)
    assert concerned(both, PLAN) == ("diabetes",)
    assert concerned(PLAN, msgspec.structs.replace(PLAN, dry_weight_kg=70.0)) == ("heart-failure",)
    assert concerned(None, PLAN) == ("heart-failure",)


# HAS 2008 as clinical reference, section 5, has it: (INR, target) → what is said.
@pytest.mark.parametrize(
    ("inr", "target", "key", "colour"),
    [
        (2.5, (2.0, 3.0), "in_range", "green"),
        (1.9, (2.0, 3.0), "low", "orange"),
        (3.1, (2.0, 3.0), "above_usual", "orange"),
        (4.0, (2.0, 3.0), "four_usual", "orange"),
        (5.9, (2.0, 3.0), "four_usual", "orange"),
        (6.0, (2.0, 3.0), "six_usual", "red"),
        (10.0, (2.0, 3.0), "ten_usual", "red"),
        (4.2, (3.0, 4.5), "in_range", "green"),
        (5.0, (2.5, 3.5), "four_high", "orange"),
        (7.0, (2.5, 3.5), "six_high", "red"),
        (12.0, (3.0, 4.5), "ten_high", "red"),
    ],
)
def test_the_guidance_is_the_reference_s(inr: float, target: tuple[float, float], key: str, colour: str):
    found = guide([inr], target)
    assert found is not None
    assert (found.key, found.colour) == (key, colour)
    assert ENGLISH(f"guidance.{key}")
    if inr > target[1]:
        assert found.days == 1, "above the target the next day in every case"


def test_valve_bleeding_and_rhythm_decide_the_next_test():
    assert guide([]) is None
    assert guide([1.4], mechanical_valve=True) == Guidance("low-valve", "usual", 1)
    assert guide([1.4]) == Guidance("low", "usual", 7)
    assert guide([2.5], bleeding=True) == Guidance("bleeding", "usual", 1)
    assert guide([3.4, 2.5], every_days=28) == Guidance("in-range", "usual", 7)
    steady = guide([2.4, 2.5], every_days=42)
    assert steady == Guidance("in-range", "usual", 42)
    assert next_test(date(2026, 11, 1), steady, date(2026, 11, 22)) == date(2026, 12, 13)
    assert next_test(date(2026, 1, 1), steady, date(2026, 11, 22)) == date(2026, 11, 22)


def form(**fields: str) -> Form:
    return Form.of(ENGLISH, FormData(list(fields.items())))


def test_an_hour_that_the_clocks_leave_out_is_refused_and_one_that_comes_twice_is_the_first():
    spring = form(at="2026-03-29T02:30")
    assert spring.moment_ms("at", "Europe/Paris") is None
    assert "does not exist" in spring.faults["at"]
    autumn = form(at="2026-10-25T02:30").moment_ms("at", "Europe/Paris")
    assert autumn is not None
    assert format_instant(autumn) == "2026-10-25T00:30:00.000+00:00"


@given(st.integers(NOW_MS - 400 * DAY_MS, NOW_MS).map(lambda ms: ms - ms % 60_000))
def test_a_moment_comes_back_from_its_field(at_ms: int):
    typed = local_input(at_ms, "Europe/Paris")
    back = form(at=typed).moment_ms("at", "Europe/Paris")
    assert back is not None
    assert local_input(back, "Europe/Paris") == typed


@pytest.mark.parametrize("typed", ["1,5", "1.5", " 1,50 ", "+1.5"])
def test_numbers_are_read_with_a_comma_or_a_point(typed: str):
    assert form(x=typed).number("x", 0, 2) == 1.5


plans = st.builds(
    PlanVersion,
    version=st.just(3),
    from_=st.just(format_instant(NOW_MS)),
    protocols=st.just(("heart-failure", "hypertension")),
    limits=st.integers(5, 60)
    .filter(lambda tenths: tenths != 20)  # the published limit is left to the protocol
    .map(lambda tenths: {"heart-failure": {"weight-gain-3d": {"limit": tenths / 10}}}),
    dry_weight_kg=st.none() | st.integers(200, 3500).map(lambda x: x / 10),
    pregnancy=st.booleans(),
    mechanical_valve=st.booleans(),
    spo2_scale=st.sampled_from([1, 2]),
    inr_target=st.none() | st.just((2.0, 3.0)),
)  # fmt: skip


@settings(deadline=None)
@given(plans)
def test_a_plan_comes_back_from_its_form_unchanged(plan: PlanVersion):
    shown = {name: value for name, value in values_of(plan, LIBRARY).items() if value not in (None, False)}
    typed = {name: "1" if value is True else str(value).replace(".", ",") for name, value in shown.items()}
    sent = FormData([*typed.items(), *(("protocols", name) for name in plan.protocols)])
    filled = Form.of(ENGLISH, sent)
    read = read_version(filled, plan, LIBRARY, plan.time_zone, "", NOW_MS)
    assert filled.faults == {}
    assert read is not None
    assert differences(plan, read, LIBRARY, Formats(ENGLISH)) == []
    assert read.version == plan.version + 1


def test_every_limit_has_words_in_both_languages_and_lies_in_its_range():
    for protocol in LIBRARY.protocols.values():
        for one in limit_fields(protocol):
            assert one.low <= one.usual <= one.high, one.name
            for texts in (Texts("fr"), ENGLISH):
                words = one.label(texts).split(" · ")
                assert words[0] == texts(f"rule.{one.rule.name}")
                assert len(words) == 1 or all(words[1:]), one.name
                assert one.direction(texts)
            if len(one.label(ENGLISH).split(" · ")) > 1:
                assert ENGLISH.term("level", one.level.name) != one.level.name or "-" not in one.level.name
