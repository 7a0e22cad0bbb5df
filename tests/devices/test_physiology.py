"""Simulated patients: the same seed gives the same readings, labels say what is in the data, bodies are bodies."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.enrolment import parse_enrolment
from devices.catalogue import KINDS
from devices.decode import decode_payload
from devices.physiology import Cohort
from devices.physiology.course import decompensations
from devices.physiology.defects import RESET_CLOCK_MS
from devices.physiology.draws import generator
from devices.physiology.parameters import CLINIC, DEMO, Defects, Profile
from devices.physiology.people import TEST_INS_OID
from devices.physiology.series import DAY_MS, MINUTE_MS
from devices.readings import Refusal
from devices.times import parse_instant
from streams.protocols import load_published

START_MS = parse_instant("2026-01-01T00:00:00+01:00")[0]
CLEAN = Defects(
    clothed_share=0.0,
    other_person_share=0.0,
    cuff_movement_share=0.0,
    cuff_swapped_share=0.0,
    cold_finger_share=0.0,
    compression_per_day=0.0,
    clock_resets_per_year=0.0,
)
ONLY_HEART_FAILURE = dataclasses.replace(CLINIC, conditions={"heart-failure": 1.0}, defects=CLEAN)


def of(condition: str, profile: Profile = CLINIC) -> Profile:
    return dataclasses.replace(profile, conditions={condition: 1.0})


def messages(cohort, patient):
    return json.dumps([one._asdict() for one in cohort.readings(patient)]).encode()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**63), st.integers(0, 6), st.sampled_from([CLINIC, DEMO]))
def test_the_same_seed_gives_the_same_readings_whatever_the_size_of_the_cohort(seed, index, profile):
    small = Cohort(seed, index + 1, START_MS, 20, profile)
    large = Cohort(seed, index + 4, START_MS, 20, profile)
    large.simulate(large.patients[0])  # the order of asking does not matter either
    assert small.patients[index] == large.patients[index]
    assert messages(small, small.patients[index]) == messages(large, large.patients[index])
    assert small.labels(small.patients[index]) == large.labels(large.patients[index])


def test_another_seed_gives_other_patients():
    one, other = Cohort(1, 20, START_MS, 1), Cohort(2, 20, START_MS, 1)
    assert not {p.patient for p in one.patients} & {p.patient for p in other.patients}


def test_pseudonyms_and_serials_are_unique_in_a_large_cohort():
    patients = Cohort(3, 5000, START_MS, 1).patients
    assert len({p.patient for p in patients}) == 5000
    serials = [d.device for p in patients for d in p.devices]
    assert len(set(serials)) == len(serials)


def test_a_patient_year_of_daily_data_is_drawn_in_columns_and_streamed_in_order_of_delivery():
    cohort = Cohort(5, 12, START_MS, 365)
    for patient in cohort.patients:
        delivered = [one.delivered_ms for one in itertools.islice(cohort.readings(patient), 20_000)]
        assert delivered == sorted(delivered)


def test_every_device_counts_from_one_without_a_gap_in_the_order_of_true_time():
    cohort = Cohort(7, 25, START_MS, 60)
    for patient in cohort.patients:
        by_device: dict[str, list[tuple[int, int]]] = {}
        for one in cohort.readings(patient):
            if not one.duplicate:
                by_device.setdefault(one.device, []).append((one.reading["seq"], one.true_ms))
        for counted in by_device.values():
            assert [seq for seq, _ in counted] == list(range(1, len(counted) + 1))
            assert [at for _, at in counted] == sorted(at for _, at in counted)


@pytest.mark.parametrize("profile", [CLINIC, DEMO])
def test_every_reading_is_accepted_but_for_those_of_a_reset_clock(profile):
    cohort = Cohort(11, 40, START_MS, 40, profile)
    seen = set()
    for patient in cohort.patients:
        resets = [label for label in cohort.labels(patient) if label.what == "clock-reset"]
        for one in itertools.islice(cohort.readings(patient), 4000):
            (result,) = decode_payload(json.dumps(one.reading).encode(), one.device, one.delivered_ms)
            if any(label.onset_ms <= one.true_ms < label.end_ms for label in resets):
                continue
            assert not isinstance(result, Refusal), result
            assert result.measured_at_ms == pytest.approx(one.true_ms, abs=241_000)
            seen.add(result.kind)
    assert seen >= set(KINDS) - {"ecg", "ketones", "implant-report"}


def test_artefact_gates_fail_only_where_a_label_says_so():
    cohort = Cohort(13, 60, START_MS, 120, of("hypertension"))
    failed = 0
    for patient in cohort.patients:
        labelled = {label.onset_ms for label in cohort.labels(patient) if label.what.startswith("artefact")}
        for one in cohort.readings(patient):
            if one.reading["kind"] != "blood-pressure" or one.reading["measured_at"].startswith("2000"):
                continue
            (result,) = decode_payload(json.dumps(one.reading).encode(), one.device, one.delivered_ms)
            if result.marks:
                failed += 1
                assert one.true_ms in labelled, (one, result.marks)
    assert failed > 5


@pytest.fixture(scope="module")
def failing():
    """120 patient-years of heart failure without artefacts."""
    cohort = Cohort(17, 120, START_MS, 365, ONLY_HEART_FAILURE)
    return [(patient, cohort.simulate(patient)) for patient in cohort.patients]


def weights_of(simulation):
    (series,) = (one.series for one in simulation.sent if one.series.kind == "body-weight")
    return series.true_ms, series.values["weight"]


def test_the_gain_in_a_labelled_decompensation_is_in_the_weights(failing):
    errors = []
    for _, simulation in failing:
        at_ms, weight = weights_of(simulation)
        for episode in simulation.course.decompensations:
            before = weight[(at_ms >= episode.onset_ms - 4 * DAY_MS) & (at_ms < episode.onset_ms)]
            after = weight[(at_ms >= episode.peak_ms - 1.5 * DAY_MS) & (at_ms < episode.peak_ms)]
            if len(before) and len(after):
                share = 1 - 0.75 * DAY_MS / (episode.peak_ms - episode.onset_ms)
                errors.append(np.mean(after) - np.mean(before) - episode.gain_kg * share**1.5)
    assert len(errors) > 40
    assert abs(np.mean(errors)) < 0.3
    assert np.std(errors) < 0.9


def test_the_mean_gain_before_major_and_minor_events_is_the_published_one():
    # Gudmundsson 2016: 2.3 kg before major, 1 kg before minor events, over all events
    gains = {True: [], False: []}
    for index in range(3000):
        drawn = decompensations(generator(19, index, "test"), START_MS, 365, CLINIC.decompensation)
        for episode in drawn:
            gains[episode.major].append(episode.gain_kg)
    assert np.mean(gains[True]) == pytest.approx(2.3, abs=0.25)
    assert np.mean(gains[False]) == pytest.approx(1.0, abs=0.15)
    assert 0.25 < np.mean([gain == 0 for gain in gains[True]]) < 0.35
    assert len(gains[True] + gains[False]) / 3000 == pytest.approx(0.65, abs=0.1)


def test_a_decompensation_takes_5_to_14_days_and_a_major_one_ends_in_hospital(failing):
    for patient, simulation in failing:
        for label in simulation.labels:
            if label.what != "decompensation":
                continue
            assert label.patient == patient.patient
            assert (label.admission_ms is not None) == label.detail["major"]
            if label.admission_ms is not None:
                assert 5 * DAY_MS - 1 <= label.admission_ms - label.onset_ms <= 14 * DAY_MS
                for one in simulation.sent:
                    at_ms = one.series.true_ms
                    assert not np.any((at_ms >= label.admission_ms) & (at_ms < label.end_ms))


def test_between_decompensations_weight_varies_by_some_hundred_grams_a_day(failing):
    changes = []
    for _, simulation in failing:
        at_ms, weight = weights_of(simulation)
        quiet = simulation.course.severity(at_ms) == 0
        next_day = (np.diff(at_ms) < 1.5 * DAY_MS) & quiet[1:] & quiet[:-1]
        changes.append(np.diff(weight)[next_day])
    assert 0.3 < np.std(np.concatenate(changes)) < 0.8


def test_symptoms_and_heart_rate_follow_the_severity(failing):
    calm, ill = {"dyspnoea": [], "heart_rate": []}, {"dyspnoea": [], "heart_rate": []}
    for _, simulation in failing:
        for one in simulation.sent:
            for name in calm:
                if name in one.series.values and one.series.kind in ("symptoms", "heart-rate"):
                    severity = simulation.course.severity(one.series.true_ms)
                    calm[name].extend(one.series.values[name][severity == 0])
                    ill[name].extend(one.series.values[name][severity > 0.6])
    assert np.mean(ill["dyspnoea"]) > np.mean(calm["dyspnoea"]) + 0.5
    assert np.mean(ill["heart_rate"]) > np.mean(calm["heart_rate"]) + 3


def test_adherence_differs_between_patients_and_is_published_like(failing):
    returned = [len(weights_of(simulation)[0]) / 365 for _, simulation in failing]
    assert 0.7 < np.mean(returned) < 0.92
    assert np.std(returned) > 0.04


def test_blood_pressure_is_higher_in_the_morning_and_on_the_first_day():
    cohort = Cohort(23, 150, START_MS, 112, dataclasses.replace(of("hypertension"), defects=CLEAN))
    morning, evening, first, later = [], [], [], []
    for patient in cohort.patients:
        simulation = cohort.simulate(patient)
        series = next(one.series for one in simulation.sent if one.series.kind == "blood-pressure")
        day, hour = simulation.clock.day_and_hour(series.true_ms)
        systolic = series.values["systolic"] - series.values["systolic"].mean()
        week = day % 28 < 7
        morning.extend(systolic[week & (hour < 12)])
        evening.extend(systolic[week & (hour >= 12)])
        first.extend(systolic[week & (day % 28 == 0)])
        later.extend(systolic[week & (day % 28 > 0)])
    assert np.mean(morning) - np.mean(evening) == pytest.approx(4.0, abs=1.0)
    assert np.mean(first) - np.mean(later) == pytest.approx(2.8, abs=1.2)


def test_glucose_looks_like_that_of_people_with_diabetes():
    cohort = Cohort(29, 60, START_MS, 14, of("diabetes"))
    means, variations, lows, labelled = [], [], [], 0
    for patient in cohort.patients:
        simulation = cohort.simulate(patient)
        labelled += sum(label.what == "hypoglycaemia" for label in simulation.labels)
        for one in simulation.sent:
            if one.series.kind == "glucose" and one.series.automatic:
                shown = one.series.values["glucose"]
                assert shown.min() >= 40
                assert shown.max() <= 400
                means.append(shown.mean())
                variations.append(100 * shown.std() / shown.mean())
                lows.append(np.mean(shown < 70))
    assert 115 < np.mean(means) < 175
    assert 22 < np.mean(variations) < 40
    assert 0.002 < np.mean(lows) < 0.08
    assert labelled > 20


def test_labelled_lows_are_in_the_sensor_readings():
    cohort = Cohort(31, 40, START_MS, 14, of("diabetes"))
    deepest = []
    for patient in cohort.patients:
        simulation = cohort.simulate(patient)
        for one in simulation.sent:
            if one.series.kind != "glucose" or not one.series.automatic:
                continue
            for label in simulation.labels:
                if label.what == "hypoglycaemia":
                    assert label.end_ms - label.onset_ms >= 15 * MINUTE_MS
                    inside = (one.series.true_ms >= label.onset_ms) & (one.series.true_ms < label.end_ms)
                    if inside.sum() > 2:
                        deepest.append(one.series.values["glucose"][inside].min() / label.detail["glucose"])
    assert np.mean(deepest) == pytest.approx(0.97, abs=0.06)


def test_rr_intervals_are_disordered_in_labelled_fibrillation_only():
    cohort = Cohort(37, 15, START_MS, 180, dataclasses.replace(of("arrhythmia"), defects=CLEAN))
    disorder = {True: [], False: []}
    for patient in cohort.patients:
        simulation = cohort.simulate(patient)
        pauses = [label for label in simulation.labels if label.what == "pause"]
        for one in simulation.sent:
            if one.series.kind != "rr-intervals":
                continue
            inside = simulation.course.in_fibrillation(one.series.true_ms)
            for at_ms, fibrillating, strip in zip(
                one.series.true_ms, inside, one.series.values["rr"], strict=True
            ):
                assert 100_000 < sum(strip) < 130_000
                if not any(at_ms <= label.onset_ms < at_ms + 130_000 for label in pauses):
                    assert min(strip) >= 290
                    assert max(strip) <= 2000
                    spread = np.median(np.abs(np.diff(strip))) / np.mean(strip)
                    disorder[bool(fibrillating)].append(spread)
    assert len(disorder[True]) > 30
    assert np.mean(np.array(disorder[True]) > 0.1) > 0.99
    assert np.mean(np.array(disorder[False]) < 0.08) > 0.99


def test_what_was_measured_offline_comes_in_one_burst_afterwards():
    cohort = Cohort(41, 40, START_MS, 120)
    bursts = 0
    for patient in cohort.patients:
        spans = [label for label in cohort.labels(patient) if label.what == "offline"]
        for one in itertools.islice(cohort.readings(patient), 3000):
            for label in spans:
                if not one.duplicate and label.onset_ms <= one.true_ms < label.end_ms - 60_000:
                    assert label.end_ms <= one.delivered_ms < label.end_ms + 120_000
                    bursts += 1
    assert bursts > 100


def test_duplicates_are_the_same_message_again_later():
    cohort = Cohort(43, 20, START_MS, 60)
    copies = labelled = 0
    for patient in cohort.patients:
        first: dict[tuple[str, int], object] = {}
        for one in cohort.readings(patient):
            key = (one.device, one.reading["seq"])
            if one.duplicate:
                assert first[key] == one.reading
                copies += 1
            else:
                assert key not in first
                first[key] = one.reading
        labelled += sum(label.what == "duplicate" for label in cohort.labels(patient))
    assert copies == labelled > 20


def test_a_reset_clock_shows_the_year_2000_exactly_where_it_is_labelled():
    profile = dataclasses.replace(CLINIC, defects=Defects(clock_resets_per_year=4.0))
    cohort = Cohort(47, 30, START_MS, 120, profile)
    wrong = 0
    for patient in cohort.patients:
        resets = [label for label in cohort.labels(patient) if label.what == "clock-reset"]
        for one in itertools.islice(cohort.readings(patient), 2000):
            inside = [
                label
                for label in resets
                if label.detail["device"] == one.device and label.onset_ms <= one.true_ms < label.end_ms
            ]
            shown_ms = parse_instant(one.reading["measured_at"])[0]
            assert bool(inside) == (shown_ms < RESET_CLOCK_MS + 30 * DAY_MS)
            if inside:
                wrong += 1
                assert ("clock-unset" in one.reading.get("flags", [])) == inside[0].detail["flagged"]
    assert wrong > 20


def test_low_batteries_warn_then_die_then_are_changed():
    cohort = Cohort(53, 25, START_MS, 365)
    died = 0
    for patient in cohort.patients:
        simulation = cohort.simulate(patient)
        for label in simulation.labels:
            if label.what == "battery-empty":
                died += 1
                battery = simulation.batteries[label.detail["device"]]
                assert battery.percent(label.onset_ms - DAY_MS) <= 2
                assert battery.percent(label.end_ms + 1) == 100
                for one in simulation.sent:
                    if one.series.device == label.detail["device"]:
                        at_ms = one.series.true_ms
                        assert not np.any((at_ms >= label.onset_ms) & (at_ms < label.end_ms))
            if label.what == "low-battery":
                for one in simulation.sent:
                    at_ms = one.series.true_ms
                    for row in np.flatnonzero((at_ms >= label.onset_ms) & (at_ms < label.end_ms)).tolist():
                        if one.series.device == label.detail["device"]:
                            assert "low-battery" in one.series.flags[row]
    assert died > 10


def test_only_made_up_identities_stand_in_an_enrolment():
    document = Cohort(59, 60, START_MS, 10).enrolment()
    for patient in document["patients"]:
        identity = patient["identity"]
        value = identity["ins"]["value"]
        assert identity["ins"]["oid"] == TEST_INS_OID
        assert len(value) == 15
        assert int(value[13:]) == 97 - int(value[:13]) % 97
        assert value[0] == ("2" if identity["sex"] == "female" else "1")
        assert identity["phone"].startswith("+33 6 39 98 ")


def test_the_enrolment_is_accepted_with_every_schedule_and_protocol():
    document = json.dumps(Cohort(67, 300, START_MS, 5).enrolment()).encode()
    accepted = parse_enrolment(document, "cohort.json", load_published())
    assert len(accepted.patients) == 300


def test_every_protocol_has_patients_and_every_patient_a_protocol():
    patients = Cohort(61, 200, START_MS, 1).patients
    assert all(patient.protocols for patient in patients)
    assert {name for patient in patients for name in patient.protocols} == {
        "heart-failure",
        "hypertension",
        "diabetes",
        "arrhythmia",
        "respiratory",
        "anticoagulation",
    }


@pytest.mark.parametrize(("patients", "days"), [(0, 5), (5, 0)])
def test_an_empty_cohort_is_refused(patients, days):
    with pytest.raises(ValueError, match="both start at 1"):
        Cohort(1, patients, START_MS, days)
