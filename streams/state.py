"""Everything that the engine keeps of one patient. Its form on disk is in `streams.stored`.

A lane is a set of kinds that rules connect (weight with symptoms, glucose with ketones); lanes do not
influence each other, so a late glucose value never re-evaluates the weights.
"""

from __future__ import annotations

from typing import Any

from streams.episodes import Episode, RuleState
from streams.history import History, Key
from streams.plans import CarePlan
from streams.program import Program
from streams.silence import Instants
from streams.timeline import RuleKey, Timeline

LONG_AGO_MS = -(1 << 62)
NEVER_MS = 1 << 62
"""Before and after every instant that a reading can carry, in milliseconds."""

NOTHING_BEFORE: Key = (LONG_AGO_MS, "", 0, 0, 0)

SEVERAL = ""
"""In the place of a lane's name: the device speaks in more than one."""


class Checkpoint:
    """States of statistics and rules just after the observation `key`. States are immutable, so this costs
    references only."""

    __slots__ = ("key", "states", "stats", "version")

    def __init__(self, key: Key, stats: tuple[Any, ...], states: tuple[RuleState, ...], version: int) -> None:
        self.key = key
        self.stats = stats
        self.states = states
        self.version = version


class Lane:
    """The history of connected kinds, the rules' states after it, and points to go back to."""

    __slots__ = (
        "base", "busy", "checkpoints", "closed", "history", "open_rules", "program", "since_checkpoint",
        "states", "stats", "version",
    )  # fmt: skip

    def __init__(self, program: Program, base: Checkpoint, history: History) -> None:
        self.program = program
        self.history = history
        self.base = base
        self.checkpoints: list[Checkpoint] = []
        self.stats: list[Any] = list(base.stats)
        self.states: list[RuleState] = list(base.states)
        self.version = base.version
        self.closed: list[tuple[Key, Episode]] = []
        self.since_checkpoint = 0
        self.open_rules: frozenset[RuleKey] = frozenset()
        """Rules with an open episode; follows from `states`."""
        self.busy = 0
        """The bits of the statistics (Step.mask) whose rules are not all idle; follows from `states`."""

    def settle(self) -> None:
        """What follows from `states`, after they have been replaced."""
        self.busy = self.program.layout.busy(self.states)
        self.open_rules = frozenset(s.open.key for s in self.states if s.open is not None)


class PatientState:
    """One patient. Mutable; only `streams.engine` changes it."""

    __slots__ = (
        "clock_ms", "deadline_ms", "duplicates", "lanes", "last_before", "n", "patient", "plan", "senders",
        "silences", "silent_from_ms", "stale", "timeline", "times", "too_late",
    )  # fmt: skip

    def __init__(self, patient: str, timeline: Timeline) -> None:
        self.patient = patient
        self.timeline = timeline
        self.plan: CarePlan | None = None
        self.clock_ms = -(1 << 53)
        self.n = 0
        self.lanes: dict[str, Lane] = {}
        self.times: dict[str, Instants] = {}
        """Instants of measurement of the kinds that the plan expects, within the history kept and the last one
        before it; derived, not on disk."""
        self.silent_from_ms = LONG_AGO_MS
        """The earliest instant from which silence may differ from `silences`; derived, not on disk."""
        self.senders: dict[str, str] = {}
        """Device → the lane that it speaks in, SEVERAL when in more than one; derived, not on disk."""
        self.last_before: dict[str, int] = {}
        """The last instant by kind of what is no longer kept."""
        self.silences: dict[RuleKey, list[Episode]] = {}
        self.deadline_ms: int | None = None
        self.too_late = 0
        self.duplicates = 0
        self.stale = False
        """Whether other protocols hold than those that the lanes were evaluated with."""
