"""Decoded states of a worker: bounded by bytes, those used longest ago go first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.live import DECODED_PER_STORED, Live, LiveStates


def kept(states: LiveStates, names: str) -> set[str]:
    return {name for name in names if name in states}


def test_beyond_the_limit_the_state_goes_that_was_used_longest_ago() -> None:
    states = LiveStates(limit=3 * 100 * DECODED_PER_STORED)
    for name in "abc":
        states.keep(name, Live(name), stored=100)
    assert states.get("a") is not None
    states.keep("d", Live("d"), stored=100)
    assert kept(states, "abcd") == {"a", "c", "d"}


def test_a_large_state_takes_the_place_of_several() -> None:
    states = LiveStates(limit=4 * 100 * DECODED_PER_STORED)
    for name in "abcd":
        states.keep(name, Live(name), stored=100)
    states.keep("e", Live("e"), stored=250)
    assert kept(states, "abcde") == {"d", "e"}


def test_a_state_larger_than_the_limit_is_kept_while_it_is_the_one_used_last() -> None:
    states = LiveStates(limit=10)
    states.keep("a", Live("a"), stored=100)
    assert states.get("a") is not None
    states.keep("b", Live("b"), stored=1)
    assert kept(states, "ab") == {"b"}


@given(st.lists(st.tuples(st.sampled_from("kkkdg"), st.sampled_from("abcdef"), st.integers(0, 400))))
def test_the_bytes_counted_are_those_of_the_states_kept_and_never_above_the_limit(
    steps: list[tuple[str, str, int]],
) -> None:
    states = LiveStates(limit=600 * DECODED_PER_STORED)
    sizes: dict[str, int] = {}
    for what, name, stored in steps:
        if what == "k":
            states.keep(name, Live(name), stored)
            sizes[name] = stored
        elif what == "d":
            states.drop(name)
        else:
            states.get(name)
        held = sum(sizes[name] for name in "abcdef" if name in states)
        assert states.taken == held * DECODED_PER_STORED <= states.limit
