"""The name of a reading's content: the same for what says the same, another for everything else."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from devices.content import content_digest, content_number
from devices.readings import Reading

FLAGS = ["irregular-pulse", "movement", "manual"]
READING = Reading(device="s-1", seq=1, kind="body-weight", measured_at_ms=1_790_000_000_000, values={"weight": 80.0},
                  flags=tuple(FLAGS), context={"posture": "standing"})  # fmt: skip


def changed(**fields: object) -> Reading:
    return msgspec.structs.replace(READING, **fields)


@given(st.integers(0, 2**40), st.text(max_size=5), st.permutations(FLAGS))
def test_when_it_came_whose_it_is_and_how_it_was_written_are_no_part_of_it(
    received_at_ms: int, patient: str, flags: list[str]
) -> None:
    again = changed(
        received_at_ms=received_at_ms,
        patient=patient,
        flags=tuple(flags),
        values={"weight": 80},
        marks=("x",),
        oldest=3,
        seq=9,
    )
    assert content_digest(again) == content_digest(READING)
    assert content_number(again) == content_number(READING)


def test_everything_that_the_device_said_is_part_of_it() -> None:
    others = [
        changed(kind="temperature"),
        changed(measured_at_ms=1_790_000_000_001),
        changed(offset_min=60),
        changed(values={"weight": 80.01}),
        changed(flags=("manual",)),
        changed(context={"posture": "lying"}),
    ]
    names = {content_digest(reading) for reading in [READING, *others]}
    assert len(names) == 7
    assert {len(name) for name in names} == {16}
