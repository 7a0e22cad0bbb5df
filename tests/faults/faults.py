"""What may happen to a region, drawn from a seed: each fault is done and, after some seconds, undone."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from region import OURS, SESSION_SECONDS, SPARE, Region
from wires import WireState


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a plan: at which share of all readings receipted, what, to whom, for how many seconds."""

    number: int
    share: float
    kind: str
    target: str
    seconds: float

    @property
    def sentence(self) -> str:
        return f"#{self.number} at {self.share:.1%}: {self.kind} {self.target} for {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. `span` draws the seconds between doing and undoing, for a target."""

    targets: tuple[str, ...]
    span: Callable[[random.Random, str], float]
    do: Callable[[Region, str], None]
    undo: Callable[[Region, str], None]
    holds: bool = True
    """The part is down meanwhile and is not to be started again by anybody else."""


JOIN = "join and leave"
RUNNING = tuple(name for name in OURS if name != SPARE)
SERVICES = ("mosquitto", "database", "kafka-1", "kafka-2", "kafka-3")
PAUSES = {
    "worker": (SESSION_SECONDS + 2, SESSION_SECONDS + 6),
    "writer": (12.0, 16.0),  # their session in Kafka is 10 s, as the bridges' is for receipts
    "bridge": (12.0, 16.0),
    "feed": (8.0, 12.0),
    "mosquitto": (8.0, 12.0),
    "database": (8.0, 12.0),
    "kafka": (5.0, 10.0),  # a broker is out after 3 s
}
"""Seconds, shortest and longest: each outlasts the session of what is paused."""
LONG_PAUSE = (50.0, 55.0)
"""Outlasts a bridge's MQTT session as well: one and a half times a keepalive of 30 s."""
LONG_SHARE = 0.25
"""Of bridges' pauses: they cost a minute each."""
SLOW_PAUSE_S = 0.3
"""For each chunk in each direction: a satellite line."""


def _kill(region: Region, name: str) -> None:
    region.part(name).kill()


def _start(region: Region, name: str) -> None:
    region.part(name).launch()


def _join(region: Region, name: str) -> None:
    region.held.discard(name)
    region.part(name).launch()


def _leave(region: Region, name: str) -> None:
    region.held.add(name)
    region.part(name).stop()


def _pause(region: Region, name: str) -> None:
    region.part(name).pause()


def _resume(region: Region, name: str) -> None:
    region.part(name).resume()


def _stop(region: Region, name: str) -> None:
    region.part(name).stop()


def _wire(state: WireState, pause_s: float = 0.0) -> Callable[[Region, str], None]:
    return lambda region, name: region.wires.set(name, state, pause_s)


def _full(region: Region, name: str) -> None:
    region.fill_disk(name)


def _free(region: Region, name: str) -> None:
    """Room again; what died of it is started again."""
    region.free_disk(name)
    region.part(name).launch()


def evenly(shortest: float, longest: float) -> Callable[[random.Random, str], float]:
    """Any target alike."""
    return lambda rng, _: rng.uniform(shortest, longest)


def pause_span(rng: random.Random, target: str) -> float:
    """Longer than the target's session; a bridge's now and then longer than its session in MQTT."""
    part = target.partition("-")[0]
    long = part == "bridge" and rng.random() < LONG_SHARE
    return rng.uniform(*(LONG_PAUSE if long else PAUSES[part]))


def _cut_span(shortest: float, longest: float) -> Callable[[random.Random, str], float]:
    """Somebody who is cut off from all of Kafka is so for longer than the session."""

    def span(rng: random.Random, target: str) -> float:
        part, _, far = target.partition("→")
        return rng.uniform(*(PAUSES[part.partition("-")[0]] if far == "kafka" else (shortest, longest)))

    return span


def kinds(region: Region) -> dict[str, Kind]:
    """Every kind that this machine lets us do, with its targets."""
    wires = tuple(region.wires.names)
    everybody = RUNNING + SERVICES
    whole = _wire(WireState.WHOLE)
    slow = _wire(WireState.SLOW, SLOW_PAUSE_S)
    found = {
        "kill -9": Kind(everybody, evenly(0.2, 4.0), _kill, _start),
        "restart": Kind(everybody, evenly(0.0, 2.0), _stop, _start),
        "pause": Kind(everybody, pause_span, _pause, _resume),
        "cut": Kind(wires, _cut_span(2.0, 10.0), _wire(WireState.CUT), whole, holds=False),
        "vanish": Kind(wires, _cut_span(4.0, 12.0), _wire(WireState.HOLE), whole, holds=False),
        "slow": Kind(wires, evenly(4.0, 12.0), slow, whole, holds=False),
        JOIN: Kind((SPARE,), evenly(8.0, 15.0), _join, _leave, holds=False),
    }
    if region.disks:
        found["disk full"] = Kind(tuple(region.disks), evenly(2.0, 8.0), _full, _free)
    return found


def draw(seed: int, count: int, known: dict[str, Kind]) -> list[Fault]:
    """`count` faults in order. Kinds come in turns, so that few faults contain each; targets are drawn."""
    rng = random.Random(seed)
    names: list[str] = []
    while len(names) < count:
        names += rng.sample(sorted(known), len(known))
    plan = []
    for number, name in enumerate(names[:count], start=1):
        kind = known[name]
        share = (number - 1 + rng.random()) / count
        target = rng.choice(kind.targets)
        plan.append(Fault(number, share, name, target, kind.span(rng, target)))
    return plan


def part_of(target: str) -> str:
    """What a fault concerns: two faults on one part never overlap, nor two on brokers of Kafka."""
    name = target.rpartition("→")[2] or target
    return "kafka" if name.startswith("kafka") else target
