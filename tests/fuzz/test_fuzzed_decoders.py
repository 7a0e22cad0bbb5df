"""The short part of the fuzzing, for every change; `make fuzz` is the long one (docs/fuzzing.md)."""

from __future__ import annotations

import json
from random import Random

import fuzz_messages as valid
import pytest
from fuzz_loop import Failure, Tally, attempt, minimised, run
from fuzz_mutation import bomb
from fuzz_records import TARGETS
from fuzz_targets import Target, check_line, check_payload
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.protocols import load_published

EXAMPLES = 80
unhurried = settings(deadline=None, max_examples=EXAMPLES)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(valid.READING_WORDS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(valid.READING_WORDS), inner, max_size=6)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_gets_anything_but_an_answer_or_the_named_error(name: str) -> None:
    @settings(unhurried)
    @given(st.integers(0, 2**64 - 1))
    def checked(seed: int) -> None:
        TARGETS[name].check(TARGETS[name].make(Random(seed)))

    checked()


@unhurried
@given(st.binary(max_size=600))
def test_plain_bytes_are_refused_whole_by_every_decoder(data: bytes) -> None:
    for target in TARGETS.values():
        target.check(data)


@unhurried
@given(json_values)
def test_any_json_is_a_reading_or_a_refusal(value: object) -> None:
    data = json.dumps(value).encode()
    check_payload(data)
    check_line(data)


@unhurried
@given(st.dictionaries(st.sampled_from(valid.READING_WORDS), json_values, max_size=5), st.integers(0, 2**32))
def test_a_reading_with_any_fields_replaced_is_a_reading_or_a_refusal(
    changes: dict[str, object], seed: int
) -> None:
    check_payload(json.dumps({**valid.reading(Random(seed)), **changes}).encode())


@pytest.mark.parametrize("seed", range(9))
def test_what_is_sent_to_exhaust_the_platform_takes_little_time_and_memory(seed: int) -> None:
    data = bomb(Random(seed))
    for name in ("payload", "line", "receipt", "status", "assignments", "care-plan"):
        outcome, failure, _ = attempt(TARGETS[name], data, memory=True)
        assert failure is None, (name, outcome, failure and (failure.error, failure.place))


def test_what_a_target_starts_from_is_mostly_accepted() -> None:
    """Else the fuzzers would look at nothing but refusals."""
    for name in (
        "payload",
        "line",
        "ecg",
        "care-plan",
        "protocol",
        "protocol-version",
        "enrolment",
        "receipt",
    ):
        outcomes = {TARGETS[name].check(TARGETS[name].make(Random(seed))) for seed in range(60)}
        assert outcomes & {*load_kinds(), "used", "read", "settled"}, (name, outcomes)


def load_kinds() -> set[str]:
    from devices.catalogue import KINDS

    assert set(load_published().names()) == set(valid.PROTOCOLS)
    return set(KINDS)


def _runs(seed: int) -> tuple[Tally, list[tuple[Failure, int]]]:
    kept: list[tuple[Failure, int]] = []
    fragile = Target("fragile", TARGETS["payload"].make, _fails_on_a_seven)
    tally = run(
        [fragile],
        seed,
        60.0,
        lambda failure, number: kept.append((failure, number)),
        lambda _: None,
        most=40,
    )
    return tally, kept


def _fails_on_a_seven(data: bytes) -> str:
    if b'"seq":7' in data:
        raise KeyError("seven")
    return "well"


def test_a_seed_draws_the_same_inputs_again_and_a_failure_is_kept_and_made_smaller() -> None:
    tally, kept = _runs(3)
    assert _runs(3)[1] == kept
    assert _runs(4)[1] != kept
    assert tally.outcomes["fragile"]["failed"] == sum(tally.failures.values()) >= len(kept) > 0
    fragile = Target("fragile", TARGETS["payload"].make, _fails_on_a_seven)
    assert minimised(fragile, kept[0][0]) == b'"seq":7'
