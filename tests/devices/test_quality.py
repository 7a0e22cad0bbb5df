from __future__ import annotations

import pytest
from device_messages import VALUES, unhurried
from hypothesis import given
from hypothesis import strategies as st

from devices.catalogue import FLAGS, KINDS
from devices.quality import ARTEFACT_FLAGS, gates


def bp(systolic, diastolic, **more: float):
    return gates("blood-pressure", {"systolic": systolic, "diastolic": diastolic, **more}, (), {})


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        (bp(120, 80), ()),
        (bp(120, 125), ("diastolic-not-below-systolic",)),
        (bp(120, 120), ("diastolic-not-below-systolic",)),
        (bp(100, 85), ()),
        (bp(100, 85.5), ("pulse-pressure",)),
        (bp(200, 80), ()),
        (bp(201, 80), ("pulse-pressure",)),
        (bp(120, 80, mean=93), ()),
        (bp(120, 80, mean=108.3), ()),
        (bp(120, 80, mean=108.4), ("mean-unlikely",)),
        (bp(120, 80, mean=79), ("mean-outside",)),
        (bp(120, 80, mean=121), ("mean-outside",)),
        (bp(120, 80, pulse=25), ()),
        (bp(120, 80, pulse=24), ("pulse-unlikely",)),
        (bp(120, 80, pulse=251), ("pulse-unlikely",)),
    ],
)
def test_a_blood_pressure_that_cannot_be_is_marked(values, marks):
    assert values == marks


@pytest.mark.parametrize("flag", ["irregular-pulse", "low-battery", "clock-unset", "manual"])
def test_what_says_nothing_against_the_number_is_no_mark(flag):
    assert flag in FLAGS
    assert gates("blood-pressure", {"systolic": 120, "diastolic": 80}, (flag,), {}) == ()


def test_a_fault_of_the_tablet_does_not_unsay_chest_pain():
    assert gates("symptoms", {"chest_pain": True}, ("device-fault", "contact-lost"), {}) == ()
    assert gates("implant-report", {"event": "lead-fault"}, ("device-fault",), {}) == ()
    assert gates("symptoms", {"chest_pain": True}, ("test",), {}) == ("test",)


@unhurried
@given(st.sampled_from(sorted(KINDS)), st.sets(st.sampled_from(sorted(FLAGS))))
def test_a_sensors_artefact_flags_are_its_marks(kind, flags):
    marks = gates(kind, VALUES[kind], tuple(flags), {})
    assert set(marks) <= flags
    if kind not in ("symptoms", "implant-report"):
        assert set(marks) == flags & ARTEFACT_FLAGS
