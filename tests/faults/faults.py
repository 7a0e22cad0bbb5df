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
    """A kind of fault. `longest`/`shortest`: seconds between doing and undoing."""

    targets: tuple[str, ...]
    shortest: float
    longest: float
    do: Callable[[Region, str], None]
    undo: Callable[[Region, str], None]
    holds: bool = True
    """The part is down meanwhile and is not to be started again by anybody else."""


RUNNING = tuple(name for name in OURS if name != SPARE)
SERVICES = ("mosquitto", "database", "kafka-1", "kafka-2", "kafka-3")
SESSIONS_END = SESSION_SECONDS + 2
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


def kinds(region: Region) -> dict[str, Kind]:
    """Every kind that this machine lets us do, with its targets."""
    wires = tuple(region.wires.names)
    everybody = RUNNING + SERVICES
    found = {
        "kill -9": Kind(everybody, 0.2, 4.0, _kill, _start),
        "restart": Kind(everybody, 0.0, 2.0, _stop, _start),
        "pause": Kind(everybody, SESSIONS_END, SESSIONS_END + 4, _pause, _resume),
        "cut": Kind(wires, 2.0, 10.0, _wire(WireState.CUT), _wire(WireState.WHOLE), holds=False),
        "vanish": Kind(wires, 4.0, 12.0, _wire(WireState.HOLE), _wire(WireState.WHOLE), holds=False),
        "slow": Kind(
            wires, 4.0, 12.0, _wire(WireState.SLOW, SLOW_PAUSE_S), _wire(WireState.WHOLE), holds=False
        ),
        "join and leave": Kind((SPARE,), 8.0, 15.0, _join, _leave, holds=False),
    }
    if region.disks:
        found["disk full"] = Kind(tuple(region.disks), 2.0, 8.0, _full, _free)
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
        plan.append(
            Fault(number, share, name, rng.choice(kind.targets), rng.uniform(kind.shortest, kind.longest))
        )
    return plan


def part_of(target: str) -> str:
    """What a fault concerns: two faults on one part never overlap, nor two on brokers of Kafka."""
    name = target.rpartition("→")[2] or target
    return "kafka" if name.startswith("kafka") else target
