"""A cohort: any number of simulated patients, each a function of (seed, index, start, days, profile) only.

    cohort = Cohort(seed=7, patients=50, start_ms=start_ms, days=90)
    for patient in cohort.patients:
        for one in cohort.readings(patient):    # in the order of delivery, made as they are asked for
            ...

A patient's whole course is drawn in columns (a year of daily measurements takes milliseconds); the messages
are made one by one when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from devices.physiology import blood_pressure, coagulation, glucose, heart, respiration, symptoms, weight
from devices.physiology.course import Course, decompensations, paroxysms, plateau_episodes
from devices.physiology.defects import (
    Battery,
    Habits,
    Sent,
    as_measured,
    battery_labels,
    deliver,
    device_time,
    drain,
    draw_battery,
    draw_clock,
    draw_habits,
    spoil,
)
from devices.physiology.draws import generator
from devices.physiology.local_time import LocalTime
from devices.physiology.parameters import CLINIC, Profile
from devices.physiology.patients import CARE_TEAM, TIME_ZONE, SimulatedPatient, draw_patient
from devices.physiology.series import DAY_MS, HOUR_MS, Label, Series
from devices.physiology.simulation import SimulatedReading, Simulation
from devices.times import format_instant

__all__ = ["Cohort", "SimulatedPatient", "SimulatedReading", "Simulation"]


class Cohort:
    """Simulated patients over `days` local days (Europe/Paris) from the day of `start_ms`.

    The same arguments give the same readings bit for bit; patient i is the same in a larger cohort.
    """

    def __init__(self, seed: int, patients: int, start_ms: int, days: int, profile: Profile = CLINIC) -> None:
        if patients < 1 or days < 1:
            raise ValueError(f"a cohort of {patients} patients over {days} days is empty; both start at 1")
        self.seed = seed
        self.days = days
        self.profile = profile
        self.clock = LocalTime(TIME_ZONE, start_ms, days)
        self.begin_ms = int(self.clock.instant_ms([0], [0.0])[0])
        on = self.clock.first_date
        self.patients = [draw_patient(seed, index, on, profile) for index in range(patients)]
        self._last: Simulation | None = None

    def readings(self, patient: SimulatedPatient) -> Iterator[SimulatedReading]:
        """What the patient's devices send, in the order of delivery."""
        return self.simulate(patient).readings()

    def labels(self, patient: SimulatedPatient) -> list[Label]:
        """What truly happened to the patient and to the data, in order of onset."""
        return list(self.simulate(patient).labels)

    def enrolment(self) -> dict[str, Any]:
        """The document that `scad enrol` reads: everybody, with devices and care plans from the first day."""
        from_ms = self.begin_ms - DAY_MS  # device clocks may be slow, and the first night is measured too
        return {
            "care_teams": [
                {"care_team": CARE_TEAM, "name": "Suivi clinique à domicile, Caen", "time_zone": TIME_ZONE}
            ],
            "patients": [
                {
                    "patient": one.patient,
                    "care_team": CARE_TEAM,
                    "identity": one.person.identity(),
                    "devices": [
                        {"device": d.device, "model": d.model, "from": format_instant(from_ms), "to": None}
                        for d in one.devices
                    ],
                    "care_plan": one.care_plan(self.begin_ms),
                }
                for one in self.patients
            ],
        }

    def simulate(self, patient: SimulatedPatient) -> Simulation:
        """Draw everything of one patient. The last one is kept, so that labels and readings cost one."""
        if self._last is None or self._last.patient is not patient:
            self._last = _Maker(self, patient).simulation()
        return self._last


class _Maker:
    """Draws one patient step by step: illnesses, signals, defects, deliveries."""

    def __init__(self, cohort: Cohort, patient: SimulatedPatient) -> None:
        self.patient = patient
        self.profile = cohort.profile
        self.clock = cohort.clock
        self.days = cohort.days
        self.begin_ms = cohort.begin_ms
        self.seed = cohort.seed
        self.labels: list[Label] = []
        self.batteries: dict[str, Battery] = {}

    def rng(self, purpose: str) -> np.random.Generator:
        return generator(self.seed, self.patient.index, purpose)

    def simulation(self) -> Simulation:
        course = self._course()
        habits, habit_labels = draw_habits(
            self.rng("habits"), self.patient.patient, self.begin_ms, self.clock, self.profile.defects
        )
        self.labels += habit_labels
        by_device: dict[str, list[Series]] = {}
        for series in self._signals(course):
            taken = as_measured(series, habits, course, self.clock)
            self.labels += spoil(
                self.rng(f"spoil {taken.kind}"), self.patient.patient, taken, self.profile.defects
            )
            by_device.setdefault(taken.device, []).append(taken)
        sent: list[Sent] = []
        for device, of_device in by_device.items():
            sent += self._send(device, of_device, habits)
        duplicates = self._duplicates(sent)
        labels = sorted(self.labels, key=lambda label: (label.onset_ms, label.what, label.end_ms))
        return Simulation(
            self.patient, course, tuple(sent), tuple(labels), self.batteries, duplicates, self.clock
        )

    def _course(self) -> Course:
        profile, begin_ms, days = self.profile, self.begin_ms, self.days
        name, has = self.patient.patient, self.patient.conditions
        course = Course(permanent_fibrillation="permanent-fibrillation" in has)
        if "heart-failure" in has:
            course.decompensations = decompensations(
                self.rng("decompensations"), begin_ms, days, profile.decompensation
            )
        for one in course.decompensations:
            detail = {"major": one.major, "gain_kg": round(one.gain_kg, 2)}
            admission_ms = one.peak_ms if one.major else None
            self.labels.append(Label(name, "decompensation", one.onset_ms, one.end_ms, admission_ms, detail))
            if one.major:
                course.away.append(("hospital-stay", one.peak_ms, one.end_ms))
                self.labels.append(Label(name, "hospital-stay", one.peak_ms, one.end_ms))
        if "paroxysmal-fibrillation" in has:
            course.fibrillation = paroxysms(
                self.rng("fibrillation"),
                begin_ms,
                days,
                profile.heart.paroxysms_per_year,
                profile.heart.paroxysm_hours,
            )
            self.labels += [
                Label(name, "atrial-fibrillation", one.onset_ms, one.end_ms) for one in course.fibrillation
            ]
        if course.permanent_fibrillation:
            end_ms = begin_ms + days * DAY_MS
            self.labels.append(
                Label(name, "atrial-fibrillation", begin_ms, end_ms, None, {"permanent": True})
            )
        self._add_infections(course)
        return course

    def _add_infections(self, course: Course) -> None:
        chosen, name = self.profile.respiration, self.patient.patient
        if self.patient.condition == "respiratory":
            course.exacerbations = plateau_episodes(
                self.rng("exacerbations"),
                self.begin_ms,
                self.days,
                chosen.exacerbations_per_year,
                chosen.exacerbation_days,
                (0.6, 1.2),
            )
        course.infections = plateau_episodes(
            self.rng("infections"),
            self.begin_ms,
            self.days,
            chosen.infections_per_year,
            chosen.infection_days,
            chosen.fever,
        )
        for what, episodes in (
            ("respiratory-exacerbation", course.exacerbations),
            ("infection", course.infections),
        ):
            self.labels += [
                Label(name, what, one.onset_ms, one.end_ms, None, {"size": round(one.size, 2)})
                for one in episodes
            ]

    def _signals(self, course: Course) -> Iterator[Series]:
        """What every device of the patient would measure if nothing went wrong."""
        patient, profile, clock = self.patient, self.profile, self.clock
        pulse = heart.heart_rate(self.rng("heart rate"), course, clock, profile.heart)
        feasts = weight.salt_excursions(self.rng("feasts"), self.begin_ms, self.days, profile.weight)
        self.labels += [
            Label(
                patient.patient,
                "salt-excursion",
                one.onset_ms,
                one.end_ms,
                None,
                {"gain_kg": round(one.size, 2)},
            )
            for one in feasts
        ]
        if scale := patient.serial("sc"):
            yield weight.weigh(
                self.rng("weight"), scale, patient.weight_kg, course, feasts, clock, profile.weight
            )
        if tablet := patient.serial("tb"):
            yield symptoms.answer(self.rng("symptoms"), tablet, course, feasts, clock)
        if cuff := patient.serial("bp"):
            yield self._pressure(cuff, course, pulse)
        if wrist := patient.serial("hr"):
            yield heart.measure_rate(self.rng("wrist"), wrist, pulse)
        if patch := patient.serial("rr"):
            strips, pauses = heart.record_strips(self.rng("strips"), patient.patient, patch, pulse)
            self.labels += pauses
            yield strips
        if oximeter := patient.serial("ox"):
            chosen, failure = profile.respiration, profile.decompensation
            yield respiration.measure_oxygen(
                self.rng("oxygen"), oximeter, patient.spo2, pulse, clock, chosen, failure
            )
            yield respiration.measure_breathing(
                self.rng("breathing"), oximeter, course, clock, chosen, failure
            )
        if thermometer := patient.serial("th"):
            yield respiration.measure_temperature(
                self.rng("temperature"), thermometer, course, clock, profile.respiration
            )
        if meter := patient.serial("ir"):
            yield self._inr(meter)
        yield from self._glucose()

    def _pressure(self, cuff: str, course: Course, pulse: heart.HeartRate) -> Series:
        chosen = self.profile.blood_pressure
        episodes = blood_pressure.pressure_episodes(
            self.rng("pressure episodes"), self.begin_ms, self.days, chosen
        )
        self.labels += blood_pressure.labels_of(self.patient.patient, episodes)
        return blood_pressure.measure(
            self.rng("pressure"),
            cuff,
            self.patient.condition == "hypertension",
            self.patient.pressure,
            course,
            episodes,
            pulse,
            self.clock,
            chosen,
        )

    def _inr(self, meter: str) -> Series:
        chosen = self.profile.coagulation
        episodes = coagulation.inr_episodes(self.rng("inr episodes"), self.begin_ms, self.days, chosen)
        self.labels += coagulation.labels_of(self.patient.patient, episodes)
        return coagulation.measure(
            self.rng("inr"), meter, self.patient.inr_target, episodes, self.clock, chosen
        )

    def _glucose(self) -> Iterator[Series]:
        sensor, meter = self.patient.serial("cg"), self.patient.serial("gm")
        if sensor is None and meter is None:
            return
        chosen = self.profile.glucose
        curve = glucose.draw_curve(self.rng("glucose"), self.patient.insulin, self.clock, chosen)
        self.labels += glucose.labels_of(self.patient.patient, curve)
        if sensor is not None:
            series = glucose.wear_sensor(self.rng("sensor"), sensor, curve, chosen)
            self.labels += glucose.add_compression(
                self.rng("compression"),
                self.patient.patient,
                series,
                self.profile.defects.compression_per_day,
                self.clock,
            )
            yield series
        if meter is not None:
            yield glucose.prick_finger(
                self.rng("meter"), meter, curve, self.patient.grams_per_litre, self.clock, chosen
            )

    def _send(self, device: str, of_device: list[Series], habits: Habits) -> list[Sent]:
        """Battery, clock, sequence numbers and deliveries of one device over all its kinds."""
        chosen, rng = self.profile.defects, self.rng(f"device {device}")
        battery = draw_battery(rng, self.begin_ms, self.days, chosen)
        self.batteries[device] = battery
        skew_ms, resets, says_so, labels = draw_clock(
            rng, self.patient.patient, device, self.begin_ms, self.days, chosen
        )
        self.labels += labels
        end_ms = self.begin_ms + self.days * DAY_MS
        self.labels += battery_labels(self.patient.patient, device, battery, self.begin_ms, end_ms)
        drained = [drain(series, battery) for series in of_device]
        true_ms = np.concatenate([series.true_ms for series in drained])
        order = np.argsort(true_ms, kind="stable")
        seq = np.empty(len(order), dtype=np.int64)
        seq[order] = np.arange(1, len(order) + 1)
        delivered = np.empty(len(order), dtype=np.int64)
        delivered[order] = deliver(rng, true_ms[order], habits.offline, chosen)
        sent, first = [], 0
        for series in drained:
            rows = slice(first, first + len(series))
            measured = device_time(series, skew_ms, resets, says_so)
            sent.append(Sent(series, measured, delivered[rows], seq[rows]))
            first += len(series)
        return sent

    def _duplicates(self, sent: list[Sent]) -> tuple[tuple[int, int, int], ...]:
        """Messages that a device sends a second time, seconds to hours later."""
        rng = self.rng("duplicates")
        copies: list[tuple[int, int, int]] = []
        for number, one in enumerate(sent):
            for row in np.flatnonzero(
                rng.random(len(one.seq)) < self.profile.defects.duplicate_share
            ).tolist():
                again_ms = int(one.delivered_ms[row]) + 5_000 + int(rng.exponential(HOUR_MS))
                copies.append((number, row, again_ms))
                detail = {"device": one.series.device, "seq": int(one.seq[row])}
                true_ms = int(one.series.true_ms[row])
                self.labels.append(Label(self.patient.patient, "duplicate", true_ms, again_ms, None, detail))
        return tuple(copies)
