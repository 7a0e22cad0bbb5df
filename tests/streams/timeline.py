"""A patient's days told as a timeline: what the devices say at which local time, and what the engine answers.

    Patient("heart-failure").at("2026-03-01 07:00").weight(80.0).at("2026-03-03 07:00").weight(82.0).raised(
        "weight-gain-3d", "high"
    )

Times are Europe/Paris; "2026-10-25 02:30+01:00" says which of the two is meant. Each step is one call of the
engine, after which the signals folded so far must be what the engine says stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self
from zoneinfo import ZoneInfo

from devices.quality import gates
from devices.readings import Reading
from devices.times import from_datetime
from streams.engine import RETENTION_MS, Engine
from streams.plans import CarePlan, PlanVersion, Schedule
from streams.protocols import load_published
from streams.signal import AlertSignal, StandingEpisode, State, fold

LIBRARY = load_published()
PARIS = ZoneInfo("Europe/Paris")
PATIENT = "p-0001"
POUND_KG = 0.45359237

Hours = float | tuple[float, float, float]
"""A schedule: every so many hours, or (every, overdue, grave)."""


def instant(local: str) -> tuple[int, int]:
    """(milliseconds since the epoch, offset in minutes) of a local time in Paris."""
    moment = datetime.fromisoformat(local)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=PARIS)
    offset = moment.utcoffset()
    assert offset is not None
    return from_datetime(moment), int(offset.total_seconds() // 60)


def ms(local: str) -> int:
    return instant(local)[0]


def version(
    number: int, begins: str, *protocols: str, schedule: Mapping[str, Hours] | None = None, **personal: Any
) -> PlanVersion:
    """One version of a care plan from a local time on. `personal` are further fields of PlanVersion."""
    hours = {
        kind: Schedule(*said) if isinstance(said, tuple) else Schedule(said)
        for kind, said in (schedule or {}).items()
    }
    at = datetime.fromisoformat(begins)
    text = (at if at.tzinfo is not None else at.replace(tzinfo=PARIS)).isoformat(timespec="milliseconds")
    return PlanVersion(version=number, from_=text, protocols=protocols, schedule=hours, **personal)


def plan(*versions: PlanVersion) -> CarePlan:
    return CarePlan(patient=PATIENT, versions=versions)


def standing_of(
    readings: Sequence[Reading],
    *protocols: str,
    care_plan: CarePlan | None = None,
    tick_ms: int | None = None,
) -> list[StandingEpisode]:
    """What stands when these readings have arrived one by one, in this order, and then the tick."""
    engine = Engine(LIBRARY, protocols, retention_ms=None)
    state = engine.new_state(PATIENT)
    engine.apply(state, plans=[care_plan] if care_plan is not None else [])
    for reading in readings:
        engine.apply(state, [reading])
    engine.apply(state, tick_ms=tick_ms)
    return engine.standing(state)


class Patient:
    """One patient on the given protocols' defaults, or on care plans."""

    def __init__(
        self, *protocols: str, plan: CarePlan | None = None, retention_ms: int | None = RETENTION_MS
    ) -> None:
        self.engine = Engine(LIBRARY, protocols, retention_ms=retention_ms)
        self.state = self.engine.new_state(PATIENT)
        self.said: list[AlertSignal] = []
        """The signals of the last step."""
        self.signals: list[AlertSignal] = []
        self.readings: list[Reading] = []
        self._folded: dict[str, StandingEpisode] = {}
        self._now = "2026-01-01 00:00"
        self._received: str | None = None
        self._seqs: dict[str, int] = {}
        if plan is not None:
            self.plan(plan)

    # ── what happens ──────────────────────────────────────────────────────────────────────────────────

    def at(self, local: str, received: str | None = None) -> Self:
        """The next readings are measured then, and received then or at `received`."""
        self._now, self._received = local, received
        return self

    def measure(
        self,
        kind: str,
        values: dict[str, Any],
        flags: tuple[str, ...] = (),
        context: dict[str, str] | None = None,
        device: str = "",
        seq: int | None = None,
    ) -> Self:
        device = device or f"{kind}-1"
        if seq is None:
            seq = self._seqs[device] = self._seqs.get(device, 0) + 1
        at_ms, offset_min = instant(self._now)
        return self.take(
            Reading(
                device=device,
                seq=seq,
                kind=kind,
                measured_at_ms=at_ms,
                offset_min=offset_min,
                received_at_ms=ms(self._received) if self._received is not None else at_ms,
                patient=PATIENT,
                values=values,
                flags=flags,
                context=context or {},
                marks=gates(kind, values, flags, context or {}),
            )
        )

    def take(self, *readings: Reading) -> Self:
        self.readings += readings
        return self._step(lambda: self.engine.apply(self.state, readings))

    def plan(self, care_plan: CarePlan) -> Self:
        return self._step(lambda: self.engine.apply(self.state, plans=[care_plan]))

    def tick(self, local: str) -> Self:
        return self._step(lambda: self.engine.apply(self.state, tick_ms=ms(local)))

    def weight(self, kg: float, *flags: str, **how: Any) -> Self:
        return self.measure("body-weight", {"weight": kg}, flags, **how)

    def pounds(self, lb: float) -> Self:
        """As a scale that speaks pounds arrives: converted once, rounded at a milligram."""
        return self.weight(round(lb * POUND_KG, 6))

    def bp(self, systolic: float, diastolic: float, *flags: str, **how: Any) -> Self:
        return self.measure("blood-pressure", {"systolic": systolic, "diastolic": diastolic}, flags, **how)

    def glucose(self, mg_dl: float, sample: str = "capillary", *flags: str) -> Self:
        return self.measure("glucose", {"glucose": mg_dl}, flags, {"sample": sample})

    def ketones(self, mmol_l: float) -> Self:
        return self.measure("ketones", {"ketones": mmol_l})

    def pulse(self, rate: float, activity: str = "rest", *flags: str) -> Self:
        return self.measure("heart-rate", {"heart_rate": rate}, flags, {"activity": activity})

    def spo2(self, percent: float, *flags: str, oxygen: str = "air") -> Self:
        return self.measure("oxygen-saturation", {"spo2": percent}, flags, {"oxygen": oxygen})

    def temperature(self, celsius: float, *flags: str) -> Self:
        return self.measure("temperature", {"temperature": celsius}, flags)

    def breathing(self, rate: float) -> Self:
        return self.measure("respiratory-rate", {"respiratory_rate": rate})

    def inr(self, ratio: float, *flags: str) -> Self:
        return self.measure("inr", {"inr": ratio}, flags)

    def answers(self, **items: Any) -> Self:
        return self.measure("symptoms", items)

    # ── what is said ──────────────────────────────────────────────────────────────────────────────────

    def raised(self, rule: str, severity: str | None = None) -> Self:
        """The last step opened an episode of the rule."""
        return self._was("raised", rule, severity)

    def updated(self, rule: str, severity: str | None = None) -> Self:
        return self._was("updated", rule, severity)

    def cleared(self, rule: str, reason: str | None = None) -> Self:
        signal = self._found("cleared", rule)
        assert (signal.reason or None) == reason
        return self

    def quiet(self, *rules: str) -> Self:
        """The last step said nothing of the rules; without rules, nothing at all."""
        heard = [(s.rule, s.state) for s in self.said if not rules or s.rule in rules]
        assert not heard, f"at {self._now} the engine says {heard}"
        return self

    def signal(self, rule: str) -> AlertSignal:
        """The last signal of the rule in the last step."""
        return [s for s in self.said if s.rule == rule][-1]

    def standing(self, rule: str | None = None) -> list[StandingEpisode]:
        return [e for e in self.engine.standing(self.state) if rule is None or e.rule == rule]

    def open(self, rule: str) -> StandingEpisode | None:
        found = [e for e in self.standing(rule) if e.end is None]
        assert len(found) <= 1, f"two open episodes of {rule}"
        return found[0] if found else None

    def rules_raised(self, cls: str = "clinical") -> set[str]:
        """The rules of a class that have ever been raised for this patient."""
        return {s.rule for s in self.signals if s.state == "raised" and s.cls == cls}

    def sentences(self, rule: str) -> tuple[str, str]:
        """(French, English) of the last step's last signal of the rule."""
        explanation = self.signal(rule).explanation
        return explanation["fr"], explanation["en"]

    def _found(self, state: State, rule: str) -> AlertSignal:
        found = [s for s in self.said if s.rule == rule and s.state == state]
        assert found, f"at {self._now}: no {state} {rule} in {[(s.rule, s.state) for s in self.said]}"
        return found[-1]

    def _was(self, state: State, rule: str, severity: str | None) -> Self:
        signal = self._found(state, rule)
        assert severity is None or signal.severity == severity
        return self

    def _step(self, apply: Callable[[], list[AlertSignal]]) -> Self:
        self.said = apply()
        self.signals += self.said
        assert [s.n for s in self.signals] == list(range(1, len(self.signals) + 1))
        for signal in self.said:
            assert not any("?" in sentence for sentence in signal.explanation.values()), signal.explanation
            fold(self._folded, signal)
        standing = {e.alert: e for e in self.engine.standing(self.state)}
        kept = {alert: e for alert, e in self._folded.items() if alert in standing or e.end is None}
        assert standing == kept, "the signals do not fold to what stands"
        return self
