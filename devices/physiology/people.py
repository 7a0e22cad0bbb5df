"""Made-up people. Names are drawn from common French ones; INS numbers carry the test OID, telephone numbers
come from the range that the regulator keeps for fiction (06 39 98 XX XX)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

TEST_INS_OID = "1.2.250.1.213.1.4.10"

_FAMILY_NAMES = (
    "AUBRY BARON BENOIT BESNARD BLIN BOUVET BRUNET CHEVALIER COLIN DELAUNAY DUVAL FERRAND FONTAINE GAUDIN "
    "GIRARD GOSSELIN GUÉRIN HAMEL HÉBERT JOUAN LAMBERT LECOMTE LEFÈVRE LEMOINE LEROUX LESAGE MAILLARD MARIE "
    "MESNIL MOREL NOËL OLIVIER PAQUET PERRIER POISSON PRÉVOST QUESNEL RENAULT ROUSSEL SALMON TESSIER VASSEUR"
)
FAMILY_NAMES = tuple(_FAMILY_NAMES.split())
_FEMALE_NAMES = (
    "Andrée Bernadette Chantal Colette Denise Élisabeth Françoise Geneviève Hélène Jacqueline Jeannine "
    "Madeleine Marie-Thérèse Martine Michèle Monique Nicole Odette Paulette Simone Suzanne Yvette Yvonne"
)
FEMALE_NAMES = tuple(_FEMALE_NAMES.split())
_MALE_NAMES = (
    "Alain André Bernard Christian Claude Daniel Émile François Gérard Guy Henri Jacques Jean Joseph Louis "
    "Marcel Maurice Michel Paul Pierre Raymond René Robert Roger Serge Yves"
)
MALE_NAMES = tuple(_MALE_NAMES.split())
CALVADOS = 14
AGE_GROUPS = ((0, "<50"), (50, "50-64"), (65, "65-74"), (75, "75-84"), (85, "≥85"))
AGE_OF_CONDITION = {
    "heart-failure": (76.0, 9.0),
    "diabetes": (58.0, 14.0),
    "hypertension": (64.0, 11.0),
    "respiratory": (70.0, 8.0),
    "arrhythmia": (71.0, 9.0),
    "anticoagulation": (73.0, 9.0),
}
"""Mean and spread in years, usual for those who are followed at home."""


@dataclass(frozen=True)
class Person:
    """Who a simulated patient is. Never leaves the enrolment file."""

    sex: str
    birth_date: date
    family_name: str
    given_names: str
    phone: str
    ins: str

    def age(self, on: date) -> int:
        before = (on.month, on.day) < (self.birth_date.month, self.birth_date.day)
        return on.year - self.birth_date.year - int(before)

    def identity(self) -> dict[str, Any]:
        """As the enrolment file writes it."""
        return {
            "family_name": self.family_name,
            "given_names": self.given_names,
            "birth_date": self.birth_date.isoformat(),
            "sex": self.sex,
            "phone": self.phone,
            "ins": {"value": self.ins, "oid": TEST_INS_OID},
        }


def draw_person(rng: np.random.Generator, condition: str, on: date) -> Person:
    """A person with an age that fits the condition on a day."""
    sex = "female" if rng.random() < 0.46 else "male"
    age_days = float(np.clip(rng.normal(*AGE_OF_CONDITION[condition]), 22, 97)) * 365.25
    birth_date = on - timedelta(days=int(age_days))
    given = FEMALE_NAMES if sex == "female" else MALE_NAMES
    number, commune = int(rng.integers(1, 1000)), int(rng.integers(1, 765))
    return Person(
        sex,
        birth_date,
        FAMILY_NAMES[int(rng.integers(len(FAMILY_NAMES)))],
        given[int(rng.integers(len(given)))],
        f"+33 6 39 98 {int(rng.integers(100)):02d} {int(rng.integers(100)):02d}",
        _ins(sex, birth_date, commune, number),
    )


def _ins(sex: str, birth_date: date, commune: int, number: int) -> str:
    """15 digits in the form of a registration number, its control key included."""
    first = 2 if sex == "female" else 1
    digits = f"{first}{birth_date:%y%m}{CALVADOS}{commune:03d}{number:03d}"
    return f"{digits}{97 - int(digits) % 97:02d}"


def age_group(age: int) -> str:
    return [name for youngest, name in AGE_GROUPS if age >= youngest][-1]
