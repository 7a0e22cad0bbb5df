"""Who the patients of a cohort are: conditions, devices, protocols, and the body's constants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from devices.physiology.draws import generator
from devices.physiology.parameters import Profile
from devices.physiology.people import Person, age_group, draw_person
from devices.times import format_instant

CARE_TEAM = "caen"
TIME_ZONE = "Europe/Paris"

MODELS = {
    "sc": ("Balance maison 3", "scale 3.2.1"),
    "bp": ("Brassard BT 12", "cuff 1.8.0"),
    "cg": ("Capteur 5 min", "cgm 4.0.2"),
    "gm": ("Lecteur de glycémie", "meter 2.2.0"),
    "hr": ("Bracelet pouls", "wrist 5.1.3"),
    "rr": ("Patch ECG 2 min", "patch 0.9.7"),
    "ox": ("Oxymètre de doigt", "oximeter 1.1.4"),
    "th": ("Thermomètre", "thermo 1.0.2"),
    "ir": ("Lecteur INR", "inr 2.0.0"),
    "tb": ("Tablette questionnaire", "tablet 6.4.0"),
}
"""Kind of device by the first two letters of its serial: made-up model, firmware."""

EXPECTED_HOURS = {
    "heart-failure": {"sc": ("body-weight", 24.0), "tb": ("symptoms", 24.0)},
    "hypertension": {"bp": ("blood-pressure", 24.0)},
    "diabetes": {"cg": ("glucose", 1.0), "gm": ("glucose", 12.0)},
    "arrhythmia": {"hr": ("heart-rate", 24.0), "rr": ("rr-intervals", 24.0)},
    "respiratory": {"ox": ("oxygen-saturation", 24.0)},
    "anticoagulation": {"ir": ("inr", 168.0)},
}
"""What a care plan expects, by protocol and kind of device: the kind of reading, and hours between two."""
PLAIN_PRESSURE_EVERY_HOURS = 96.0
"""Outside the weeks of the full protocol pressure is measured on Mondays and Thursdays."""


@dataclass(frozen=True)
class SimulatedDevice:
    """A device in a patient's home. Serial, model and firmware as an enrolment or a status names them."""

    device: str
    model: str
    firmware: str

    @property
    def family(self) -> str:
        return self.device[:2]


@dataclass(frozen=True)
class SimulatedPatient:
    """One made-up patient; everything but the illnesses and the readings, which `Cohort` generates."""

    index: int
    patient: str
    person: Person
    age_group: str
    condition: str
    conditions: frozenset[str]
    protocols: tuple[str, ...]
    devices: tuple[SimulatedDevice, ...]
    weight_kg: float
    pressure: tuple[float, float]
    spo2: float
    inr_target: float
    insulin: bool
    grams_per_litre: bool

    @property
    def sex(self) -> str:
        return self.person.sex

    def serial(self, family: str) -> str | None:
        """The serial of the patient's device of a family (the keys of MODELS), or None."""
        return next((one.device for one in self.devices if one.family == family), None)

    def care_plan(self, from_ms: int) -> dict[str, Any]:
        """A version of a care plan as the enrolment file writes it."""
        plan: dict[str, Any] = {
            "version": 1,
            "from": format_instant(from_ms),
            "author": "scad fleet",
            "time_zone": TIME_ZONE,
            "protocols": list(self.protocols),
            "schedule": self._schedule(),
        }
        if "heart-failure" in self.conditions:
            plan["dry_weight_kg"] = round(self.weight_kg, 1)
        if "permanent-fibrillation" in self.conditions:
            plan["known_atrial_fibrillation"] = True
        if "hypercapnic-risk" in self.conditions:
            plan["spo2_scale"] = 2
        if "anticoagulation" in self.protocols:
            half = 0.5
            plan["inr_target"] = [self.inr_target - half, self.inr_target + half]
            plan["mechanical_valve"] = "mechanical-valve" in self.conditions
        return plan

    def _schedule(self) -> dict[str, dict[str, float]]:
        families = {one.family for one in self.devices}
        hours = {
            kind: every
            for protocol in self.protocols
            for family, (kind, every) in EXPECTED_HOURS[protocol].items()
            if family in families
        }
        if self.condition == "hypertension":
            hours["blood-pressure"] = PLAIN_PRESSURE_EVERY_HOURS
        return {kind: {"every_hours": every} for kind, every in hours.items()}


def draw_patient(seed: int, index: int, on: date, profile: Profile) -> SimulatedPatient:
    """The patient of an index; depends on seed, index and profile, and for the age on the day."""
    rng = generator(seed, index, "patient")
    pseudonym = f"p-{rng.integers(1 << 40):010x}"
    names = list(profile.conditions)
    shares = np.array([profile.conditions[name] for name in names])
    condition = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    person = draw_person(rng, condition, on)
    conditions, families = _equip(rng, condition)
    hypertensive = "hypertension" in conditions
    chosen = profile.blood_pressure
    systolic = rng.normal(*(chosen.systolic_hypertension if hypertensive else chosen.systolic))
    if condition == "heart-failure":
        systolic += chosen.systolic_low_failure
    low_oxygen = condition == "respiratory"
    spo2 = rng.normal(*(profile.respiration.spo2_copd if low_oxygen else profile.respiration.spo2))
    if low_oxygen and spo2 < 92.0:
        conditions.add("hypercapnic-risk")
    weight = rng.normal(*((82.0, 14.0) if person.sex == "male" else (70.0, 13.0)))
    return SimulatedPatient(
        index=index,
        patient=pseudonym,
        person=person,
        age_group=age_group(person.age(on)),
        condition=condition,
        conditions=frozenset(conditions),
        protocols=_protocols(conditions, families),
        devices=tuple(
            SimulatedDevice(f"{family}-{rng.integers(1 << 32):08x}", *MODELS[family]) for family in families
        ),
        weight_kg=float(np.clip(weight, 45.0, 140.0)),
        pressure=(float(np.clip(systolic, 98, 165)), float(np.clip(rng.normal(*chosen.diastolic), 58, 98))),
        spo2=float(np.clip(spo2, 87.5, 98.5)),
        inr_target=3.0 if "mechanical-valve" in conditions else 2.5,
        insulin="insulin" in conditions,
        grams_per_litre=bool(rng.random() < 0.3),
    )


def _equip(rng: np.random.Generator, condition: str) -> tuple[set[str], list[str]]:
    """(conditions, families of devices) of a patient; shares are an engineer's choice."""
    conditions, families = {condition}, []

    def by_chance(share: float, family: str, *also: str) -> None:
        if rng.random() < share:
            families.append(family)
            conditions.update(also)

    if condition == "heart-failure":
        families.append("sc")
        by_chance(0.8, "bp")
        by_chance(0.85, "tb")
        by_chance(0.45, "hr")
        by_chance(0.35, "ox")
        if "bp" in families and rng.random() < 0.5:
            conditions.add("hypertension")
        if rng.random() < 0.25:
            conditions.add("permanent-fibrillation")
            by_chance(0.4, "ir", "anticoagulation")
    elif condition == "diabetes":
        if rng.random() < 0.5:
            conditions.add("insulin")
        families.append("cg" if "insulin" in conditions or rng.random() < 0.2 else "gm")
        by_chance(0.3, "bp", "hypertension")
        by_chance(0.2, "sc")
    elif condition == "hypertension":
        families.append("bp")
        by_chance(0.15, "sc")
    elif condition == "respiratory":
        families += ["ox", "th"]
        by_chance(0.3, "bp")
    elif condition == "arrhythmia":
        families += ["rr", "hr"]
        conditions.add("paroxysmal-fibrillation")
        by_chance(0.5, "ir", "anticoagulation")
    else:
        families.append("ir")
        if rng.random() < 0.2:
            conditions.add("mechanical-valve")
        elif rng.random() < 0.7:
            conditions.add("permanent-fibrillation")
        by_chance(0.3, "bp")
    return conditions, families


def _protocols(conditions: set[str], families: list[str]) -> tuple[str, ...]:
    """The protocols whose readings the patient's devices can give."""
    needs = {
        "heart-failure": ("sc",),
        "hypertension": ("bp",),
        "diabetes": ("cg", "gm"),
        "arrhythmia": ("rr", "hr"),
        "respiratory": ("ox",),
        "anticoagulation": ("ir",),
    }
    followed = set(conditions)
    if "permanent-fibrillation" in conditions and "hr" in families:
        followed.add("arrhythmia")
    return tuple(
        name for name, able in needs.items() if name in followed and any(one in families for one in able)
    )
