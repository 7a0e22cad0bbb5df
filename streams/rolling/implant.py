"""What the remote follow-up of a pacemaker or defibrillator reports (kind `implant-report`)."""

from __future__ import annotations

from typing import ClassVar

from streams.history import IMPLANT_EVENTS, Observation
from streams.rolling.base import NO_FACTS, Measure, Moment, Parameters, Stateless, Told, ref

GRADES = {
    "shock": 2.0,
    "ventricular-tachycardia": 2.0,
    "lead-fault": 2.0,
    "atrial-fibrillation": 1.0,
    "battery-low": 1.0,
}
"""2: somebody has to act today; a lead that fails may not pace nor shock. 1: within days (project defaults)."""

NAMES = {
    "shock": ("choc délivré", "shock delivered"),
    "ventricular-tachycardia": ("tachycardie ventriculaire", "ventricular tachycardia"),
    "lead-fault": ("défaut de sonde", "lead fault"),
    "atrial-fibrillation": ("fibrillation atriale", "atrial fibrillation"),
    "battery-low": ("pile faible", "battery low"),
}


class ImplantEvent(Stateless):
    """A report's event as a grade (GRADES). A report that counts none (`count` 0), or a share of time in the
    arrhythmia of 0, says that it is over: grade 0."""

    channels: ClassVar[tuple[str, ...]] = ("grade",)
    facts = NO_FACTS

    def __init__(self, parameters: Parameters) -> None:
        self.kinds = frozenset({"implant-report"})

    def add(self, state: None, o: Observation, moment: Moment) -> tuple[None, Measure | None]:
        event, count, burden = o.x if len(o.x) == 3 else (None, None, None)
        if o.artefact or event is None:
            return None, None
        name = IMPLANT_EVENTS[int(event)]
        over = count == 0.0 or burden == 0.0
        return None, Measure(
            (0.0 if over else GRADES[name],), (_tell, o, name, 0.0 if over else GRADES[name])
        )


def _tell(o: Observation, name: str, grade: float) -> Told:
    return (ref(o, grade),), {"what_fr": NAMES[name][0], "what_en": NAMES[name][1]}
