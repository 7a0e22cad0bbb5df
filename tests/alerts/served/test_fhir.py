"""FHIR R4 over HTTP: every kind of the catalogue as an Observation, searches and their pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from feed_server import RunningFeed
from fhir_rules import LOINC, codes, value_of
from fhir_ward import (
    ALSO,
    VALUES,
    extensions,
    fhir_ward,
    got,
    numbers,
    observations,
    pages,
    reading,
    resources,
    seq_of,
)
from made_up_ward import DAY, HOUR, NOW_MS

from alerts.fhir.codes import MDC, OWN, SHAPES
from alerts.fhir.ids import logical_id
from alerts.fhir.queries import STRIP_CHARS
from alerts.store import write_readings
from devices.catalogue import KINDS
from devices.times import format_instant
from scad.services import Postgres


@pytest.fixture(scope="module")
def feed(postgres: Postgres, schema_template: str, quick_hashes: None) -> Iterator[RunningFeed]:
    with fhir_ward(postgres, schema_template) as found:
        yield found


@pytest.fixture(scope="module")
def nurse(feed: RunningFeed) -> httpx.Client:
    return feed.client("infirmiere")


# ── readings ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_examples_are_all_kinds_of_the_catalogue_with_all_their_values():
    assert set(VALUES) == set(KINDS) == set(SHAPES)
    for name, kind in KINDS.items():
        assert set(kind.values) - set(VALUES[name]) <= {"samples"}


@pytest.mark.parametrize("kind", VALUES)
def test_a_reading_of_each_kind_is_a_valid_observation_with_its_numbers_codes_and_units(
    nurse: httpx.Client, kind: str
):
    seq = 1 + list(VALUES).index(kind)
    (it,) = [it for it in observations(nurse, code=f"{OWN}/CodeSystem/kind|{kind}") if seq_of(it) == seq]
    catalogue, values = KINDS[kind], VALUES[kind]
    assert it == got(nurse, f"Observation/{it['id']}")
    assert it["subject"] == {"reference": "Patient/p-caen"}
    assert it["device"] == {"reference": f"Device/{logical_id('bo_1')}"}
    assert it["effectiveDateTime"] == format_instant(NOW_MS - seq * HOUR, 60)
    assert it["effectiveDateTime"].endswith("+01:00")
    assert it["issued"] == format_instant(NOW_MS - seq * HOUR + 4000)
    if catalogue.loinc:
        assert codes(it["code"]) & set(catalogue.loinc)
    if catalogue.mdc is not None and kind != "glucose":  # its code is capillary blood
        assert codes(it["code"], MDC) == {str(catalogue.mdc)}
    said = numbers(it)
    main = SHAPES[kind].main
    if main is not None:
        value = value_of(it)
        said[main] = value["value"] if "valueQuantity" in it else value["text"]
    if kind == "ecg":
        strip = it["valueSampledData"]
        assert (strip["period"], strip["factor"], strip["data"]) == (4, 1 / 200, "1 -1 256")
        assert strip["origin"]["code"] == "mV"
    elif kind == "rr-intervals":
        assert it["valueString"] == "812 805.5 0"
    else:
        assert said == values
    if catalogue.unit and main and "valueQuantity" in it:
        assert it["valueQuantity"]["code"] == catalogue.unit


def test_components_have_the_codes_of_the_catalogue(nurse: httpx.Client):
    (pressure,) = [it for it in observations(nurse, code="85354-9") if seq_of(it) == 2]
    found = {next(iter(codes(c["code"]))): codes(c["code"], MDC) for c in pressure["component"]}
    assert found == {"8480-6": {"150021"}, "8462-4": {"150022"}, "8478-0": {"150023"}, "8867-4": {"149546"}}


def test_a_blood_pressure_is_coded_as_in_the_example_of_hl7(nurse: httpx.Client):
    """observation-example-bloodpressure of R4: what it codes, value by value."""
    (it,) = [it for it in observations(nurse, code="85354-9") if seq_of(it) == 2]
    coding = it["code"]["coding"][0]
    assert coding == {
        "system": LOINC, "code": "85354-9", "display": "Blood pressure panel with all children optional"
    }  # fmt: skip
    category = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}
    assert it["category"] == [{"coding": [category]}]
    shown = [(c["code"]["coding"][0], c["valueQuantity"]) for c in it["component"][:2]]
    millimetres = {"unit": "mmHg", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}
    assert shown == [
        (
            {"system": LOINC, "code": "8480-6", "display": "Systolic blood pressure"},
            {"value": 142, **millimetres},
        ),
        (
            {"system": LOINC, "code": "8462-4", "display": "Diastolic blood pressure"},
            {"value": 88, **millimetres},
        ),
    ]


def test_a_glucose_is_called_by_what_was_measured(nurse: httpx.Client):
    shown = [it for it in observations(nurse) if seq_of(it) in (3, 14, 15)]
    found = {seq_of(it): (codes(it["code"]), codes(it["code"], MDC)) for it in shown}
    assert found == {3: ({"2339-0"}, set()), 14: ({"41653-7"}, {"160184"}), 15: ({"99504-3"}, set())}
    for code, seqs in (("41653-7", [14]), ("99504-3", [15]), ("2339-0", [3])):
        assert [seq_of(it) for it in observations(nurse, code=code)] == seqs


def test_a_marked_reading_has_no_value_but_says_why_and_what_it_was(nurse: httpx.Client):
    found = {seq_of(it): it for it in observations(nurse)}
    pressure, rate, strip = found[16], found[18], found[19]
    assert extensions(pressure, "artefact") == extensions(pressure, "flag") == ["movement"]
    assert extensions(pressure, "context-arm") == ["left"]
    assert [extensions(c, "unusable-value")[0]["value"] for c in pressure["component"]] == [142, 141]
    for it in (*pressure["component"], rate, strip):
        assert value_of(it) is None
        assert it["dataAbsentReason"]["coding"][0]["code"] == "error"
    assert extensions(rate, "unusable-value")[0]["value"] == 190
    assert "movement" in pressure["note"][0]["text"]


def test_a_clock_that_was_not_set_is_said(nurse: httpx.Client):
    (it,) = [it for it in observations(nurse) if seq_of(it) == 17]
    assert extensions(it, "clock-fault") == [True]
    assert "clock" in it["note"][0]["text"]
    assert it["valueQuantity"]["value"] == 82.5


def test_a_long_strip_is_whole_when_it_is_read_and_left_out_of_a_search(nurse: httpx.Client):
    (it,) = [it for it in observations(nurse) if seq_of(it) == 20]
    assert it["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert "valueSampledData" not in it
    whole = got(nurse, f"Observation/{it['id']}")
    assert "tag" not in whole["meta"]
    assert len(whole["valueSampledData"]["data"].split()) == STRIP_CHARS // 8


# ── searches ────────────────────────────────────────────────────────────────────────────────────────────────


def seqs(client: httpx.Client, **asked: Any) -> list[int]:
    return [seq_of(it) for it in observations(client, **asked)]


def test_readings_are_found_by_code_category_device_and_id(nurse: httpx.Client):
    everything = list(range(1, len(VALUES) + len(ALSO) + 1))
    assert seqs(nurse) == everything  # the latest first
    assert seqs(nurse, _sort="date") == everything[::-1]
    assert seqs(nurse, code=f"{LOINC}|29463-7") == [1, 17]
    assert seqs(nurse, code=f"{MDC}|188736") == [1, 17]
    assert seqs(nurse, code="29463-7,34714-6") == [1, 10, 17]
    assert seqs(nurse, code=["29463-7", "34714-6"]) == []
    assert seqs(nurse, code="8867-4") == [4, 18]
    assert seqs(nurse, **{"combo-code": "8867-4"}) == [2, 4, 7, 16, 18]
    assert seqs(nurse, code="no-such-code") == seqs(nurse, code="|29463-7") == []
    assert seqs(nurse, category="laboratory") == [3, 10, 11, 14, 15]
    assert seqs(nurse, category="vital-signs", code="8310-5") == [8]
    assert seqs(nurse, device=f"Device/{logical_id('bo_1')}") == everything
    assert seqs(nurse, device="another") == []
    one, two = observations(nurse)[:2]
    assert seqs(nurse, _id=f"{one['id']},{two['id']},nothing") == [1, 2]
    assert [it["id"] for it in resources(got(nurse, "Observation", _id=one["id"]))] == [one["id"]]
    assert observations(nurse, subject="Patient/p-caen") == observations(nurse)
    assert resources(got(nurse, "Observation", patient="Patient/p-bayeux")) == []
    assert resources(got(nurse, "Observation", patient="nobody")) == []


@pytest.mark.parametrize(
    ("dates", "found"),
    [
        (["ge2026-11-22"], list(range(1, 11))),  # of the care team's zone: from 23:00 UTC the evening before
        (["2026-11-22"], list(range(1, 11))),
        (["lt2026-11-22"], list(range(11, 21))),
        (["eb2026-11-22"], list(range(11, 21))),
        (["gt2026-11-21"], list(range(1, 11))),
        (["sa2026-11-21"], list(range(1, 11))),
        (["le2026-11-21"], list(range(11, 21))),
        (["ge2026-11-22T07:42:00Z", "lt2026-11-22T08:42Z"], [2]),
        (["ge2026-11-22T08:42:00+01:00", "le2026-11-22T08:42:00+01:00"], [2]),
        (["eq2026-11-22T07:42:00.000Z"], [2]),
        (["2026-11"], list(range(1, 21))),
        (["2025"], []),
    ],
)
def test_readings_are_found_by_date(nurse: httpx.Client, dates: list[str], found: list[int]):
    assert seqs(nurse, date=dates) == found


@pytest.mark.parametrize("order", ["date", "-date"])
@pytest.mark.parametrize("count", [1, 7, 20])
def test_pages_give_each_reading_once_in_order(nurse: httpx.Client, count: int, order: str):
    found = pages(nurse, "Observation", patient="p-caen", _count=count, _sort=order)
    assert [len(page) for page in found[:-1]] == [count] * (len(found) - 1)
    assert [it for page in found for it in page] == observations(nurse, _sort=order)


def test_a_page_goes_on_among_readings_of_one_instant(feed: RunningFeed, nurse: httpx.Client):
    values, at = {"temperature": 37.0}, NOW_MS - 40 * DAY
    old = [reading(seq, "temperature", values, measured_at_ms=at) for seq in range(200, 205)]
    write_readings(feed.conn, old, NOW_MS)
    asked = {"patient": "p-caen", "date": "lt2026-11-01"}
    found = [seq_of(it) for page in pages(nurse, "Observation", _count=2, **asked) for it in page]
    assert sorted(found) == list(range(200, 205))
    feed.conn.execute("delete from scad.reading where seq >= 200")


def test_patients_and_devices_are_found(feed: RunningFeed, nurse: httpx.Client):
    (patient,) = resources(got(nurse, "Patient"))
    assert patient == got(nurse, "Patient/p-caen")
    assert (patient["id"], patient["gender"]) == ("p-caen", "male")
    assert patient["name"][0]["family"] == "Duquesne"
    assert feed.conn.execute("select ins from identity.person").fetchone()[0] not in json.dumps(patient)  # type: ignore[index]
    assert resources(got(nurse, "Patient", identifier=f"{OWN}/identifier/patient|p-caen")) == [patient]
    assert resources(got(nurse, "Patient", identifier="p-bayeux")) == []
    assert len(pages(nurse, "Device", _count=1)) == 2
    (scale,) = resources(got(nurse, "Device", identifier="bo_1", patient="p-caen"))
    assert scale == got(nurse, f"Device/{logical_id('bo_1')}")
    assert (scale["status"], scale["patient"]["reference"]) == ("active", "Patient/p-caen")
    assert scale["deviceName"] == [{"name": "Balance BW-200", "type": "model-name"}]
