"""An instant that this program wrote is read as one that a device wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.times import BadTimeError, format_instant, parse_instant, read_instant

INSTANTS = st.integers(-62_000_000_000_000, 253_000_000_000_000)


@given(INSTANTS, st.integers(-18 * 60, 18 * 60))
def test_what_was_written_is_read_back(instant_ms: int, offset_min: int) -> None:
    text = format_instant(instant_ms, offset_min)
    assert read_instant(text) == parse_instant(text) == (instant_ms, offset_min)


@pytest.mark.parametrize(
    "text", ["2026-11-22T07:31:05Z", "2026-11-22t07:31:05.1200009+01:00", "2026-11-22T07:31:05.120-18:00"]
)
def test_what_others_write_is_read_as_well(text: str) -> None:
    assert read_instant(text) == parse_instant(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T07:31:05.120",
        "2026-11-22T07:31:05.120+19:00",
        "2026-02-30T07:31:05.120+01:00",
        "0001-01-01T00:00:00.000+01:00",
        "",
    ],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(BadTimeError):
        read_instant(text)
