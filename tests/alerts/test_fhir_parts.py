"""The parts of FHIR that need no server: dates and their prefixes, ids, strips, and kinds of a later release."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fhir_rules import validated
from hypothesis import given
from hypothesis import strategies as st

from alerts.fhir.ids import logical_id, observation_id, parse_observation_id
from alerts.fhir.observation import instant_text, observation
from alerts.fhir.outcome import FhirError
from alerts.fhir.search import PARAMETERS, Search, Span, parse, span_of

ZONE = "Europe/Paris"
AT = datetime(2026, 11, 22, 6, 31, 5, 120_000, tzinfo=UTC)
instants = st.datetimes(datetime(1970, 1, 2), datetime(2199, 1, 1), timezones=st.just(UTC))
FORMS = ("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ")
ROW: dict[str, Any] = {
    "patient": "p-1", "device": "sc-1", "epoch": 0, "seq": 41, "digest": b"\x07" * 16, "kind": "body-weight",
    "measured_at": AT, "received_at": AT, "stored_at": AT, "flags": [], "marks": [], "context": {},
    "offset_min": 60, "too_late": False, "cut": False, "values": {"weight": 82.4},
}  # fmt: skip


def within(at: datetime, text: str) -> bool:
    span = span_of("date", [[text]], ZONE)
    return span.begin <= at < span.end


def refusal(call: Callable[[], object]) -> int | None:
    """The status with which the call is refused; None when it is not."""
    try:
        call()
    except FhirError as error:
        return error.status
    return None


@given(instants, instants, st.sampled_from(FORMS))
def test_an_instant_is_before_in_or_after_a_date_and_the_prefixes_agree(
    at: datetime, said: datetime, form: str
):
    date = said.strftime(form)
    before, inside, after = (within(at, prefix + date) for prefix in ("lt", "eq", "gt"))
    assert [before, inside, after].count(True) == 1
    assert within(at, date) == inside
    assert within(at, f"ge{date}") == (inside or after)
    assert within(at, f"le{date}") == (before or inside)
    assert (within(at, f"sa{date}"), within(at, f"eb{date}")) == (after, before)


@given(instants, st.sampled_from(FORMS))
def test_an_instant_is_in_its_own_date(at: datetime, form: str):
    zone_of_form = "UTC" if form.endswith("d") or "T" not in form else ZONE
    span = span_of("date", [[at.strftime(form)]], zone_of_form)
    assert span.begin <= at < span.end


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-22", 24)])
def test_a_day_of_the_ward_is_as_long_as_its_clocks_say(day: str, hours: int):
    span = span_of("date", [[day]], ZONE)
    assert span.end - span.begin == timedelta(hours=hours)


def test_dates_that_are_repeated_narrow_each_other():
    both = span_of("date", [["ge2026-11-22T00:00Z"], ["lt2026-11-23T00:00+00:00"]], ZONE)
    assert both == Span(datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC))


@given(st.text(max_size=40))
def test_any_text_is_a_date_or_refused(text: str):
    assert refusal(lambda: span_of("date", [[text]], ZONE)) in (None, 400)


@given(
    st.lists(
        st.tuples(st.sampled_from(["_count", "_sort", "code", "date", "_page", "x"]), st.text()), max_size=5
    )
)
def test_any_query_is_a_search_or_refused(asked: list[tuple[str, str]]):
    found: list[Search] = []
    assert refusal(lambda: found.append(parse("Observation", asked))) in (None, 400, 406)
    for search in found:
        assert 1 <= search.count <= 200
        assert set(search.values) <= set(PARAMETERS["Observation"])


@given(st.text(min_size=1, max_size=128), st.text(min_size=1, max_size=128))
def test_every_name_has_an_id_that_fhir_allows_and_no_two_share_one(one: str, other: str):
    assert re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", logical_id(one))
    assert (logical_id(one) == logical_id(other)) == (one == other)


@given(instants, st.binary(min_size=16, max_size=16), st.integers(0, 2**63 - 1))
def test_the_id_of_an_observation_leads_back_to_its_reading(at: datetime, digest: bytes, seq: int):
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    id_ = observation_id({**ROW, "measured_at": at, "digest": digest, "seq": seq})
    assert len(id_) <= 64
    found = parse_observation_id(id_)
    assert found is not None
    assert (found.measured_at, found.digest) == (at, digest)


def test_an_offset_that_fhir_does_not_have_is_written_in_utc():
    assert instant_text(AT, 60) == "2026-11-22T07:31:05.120+01:00"
    assert instant_text(AT, 17 * 60) == "2026-11-22T06:31:05.120+00:00"


def test_a_clock_of_1969_and_an_offset_of_seventeen_hours_are_still_valid():
    at = datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)
    it = validated(observation({**ROW, "measured_at": at, "offset_min": -17 * 60, "flags": ["clock-unset"]}))
    found = parse_observation_id(it["id"])
    assert found is not None
    assert found.measured_at == at


def test_a_kind_that_a_later_release_stored_is_told_with_its_own_names():
    values = {"depth": 3.5, "steady": True, "word": "deep", "parts": [1, 2]}
    it = validated(observation({**ROW, "kind": "breath-depth", "values": values}))
    assert it["code"]["text"] == "breath-depth"
    assert [c["code"]["text"] for c in it["component"]] == sorted(values)


def test_samples_are_decimals_without_exponent():
    values = {"fs": 128.0, "samples": [1e-5, -0.0000001, 1.25, -3.0]}
    it = validated(observation({**ROW, "kind": "ecg", "values": values}))
    assert it["valueSampledData"]["data"] == "0.00001 0 1.25 -3"
    assert it["valueSampledData"]["period"] == 7.8125
