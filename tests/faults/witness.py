"""Whether faults struck: a worker's pause made others take its patients over, and who joined was given some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from faults import JOIN, Fault

TAKEOVERS, PATIENTS = "scad_worker_takeovers_total", "scad_worker_patients"
LOOK_SECONDS = 1.0
AFTER_SECONDS = 60.0
"""How long after its end a fault's consequence may come: a rebalance has 20 s, and the machine other work."""
JOIN_SECONDS = 180.0
"""How long who joins may take: it starts, waits for a rebalance, recovers its tables. It leaves once it has some."""


@dataclass(slots=True)
class Question:
    """What is asked of one fault until it is answered or too late."""

    what: str
    answered: Callable[[], bool]
    until_s: float
    fault: Fault


class Witness:
    """Looks at the workers' metrics after faults of which something must follow. `metric(worker, name)` reads one."""

    def __init__(self, workers: tuple[str, ...], metric: Callable[[str, str], float]) -> None:
        self._workers, self._metric = workers, metric
        self._open: list[Question] = []
        self._looked_s = 0.0
        self.answered: Counter[str] = Counter()
        """Asked, and either seen or too late."""
        self.seen: Counter[str] = Counter()

    def begins(self, fault: Fault, now_s: float) -> None:
        """To be called before the fault is done."""
        until = now_s + fault.seconds + AFTER_SECONDS
        if fault.kind == "pause" and fault.target in self._workers:
            before = {name: self._metric(name, TAKEOVERS) for name in self._workers if name != fault.target}
            self._ask("pauses of workers that were followed by a takeover", self._risen(before), until, fault)
        elif fault.kind == JOIN:
            joiner = fault.target
            what = "workers that joined and were given patients"
            self._ask(what, self._given(joiner), now_s + JOIN_SECONDS, fault)

    def _risen(self, before: dict[str, float]) -> Callable[[], bool]:
        return lambda: any(self._metric(name, TAKEOVERS) > count for name, count in before.items())

    def _given(self, joiner: str) -> Callable[[], bool]:
        return lambda: self._metric(joiner, TAKEOVERS) > 0 and self._metric(joiner, PATIENTS) > 0

    def _ask(self, what: str, answered: Callable[[], bool], until_s: float, fault: Fault) -> None:
        self._open.append(Question(what, answered, until_s, fault))

    def look(self, now_s: float) -> None:
        if now_s - self._looked_s < LOOK_SECONDS:
            return
        self._looked_s = now_s
        for question in list(self._open):
            seen = question.answered()
            if seen or now_s > question.until_s:
                self.seen[question.what] += seen
                self.answered[question.what] += 1
                self._open.remove(question)

    def waits_for(self, fault: Fault) -> bool:
        """Who has joined is not to leave before the answer is there, or too late."""
        return fault.kind == JOIN and any(question.fault == fault for question in self._open)

    @property
    def waiting(self) -> bool:
        return bool(self._open)


def unseen(asked: Mapping[str, int], seen: Mapping[str, int]) -> list[str]:
    """What must have followed and was seen for less than half (another fault at the same time may prevent one)."""
    return [
        f"only {seen.get(what, 0)} of {count} {what}"
        for what, count in asked.items()
        if 2 * seen.get(what, 0) < count
    ]
