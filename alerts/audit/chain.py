"""The chain: how a line's hash follows from the one before, and what is wrong with a trail. Pure.

hash(n) = SHA-256(hash(n-1) as 64 hexadecimal digits, then the line), beginning with 32 zero bytes. A line begins with
its own number, so that one in another's place says so itself.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from alerts.identity.keys import KeyFileError, MasterKeys

ZERO = bytes(32)
ANY = b""  # the hash before a line that nobody here knows
FAULTS_MAX = 100  # listed; whoever rewrote a whole trail is known by the first
CHECKPOINT_PURPOSE = "audit checkpoint"
_NUMBER = re.compile(r'\{"n":(\d+),')

FaultKind = Literal["removed", "altered", "reordered", "rewritten", "ends-early", "forged-checkpoint"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Lines `first` to `last` of the trail, and what is wrong with them."""

    kind: FaultKind
    first: int
    last: int
    words: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the chain was at line `n`. `cut`: the lines up to it were kept their time and are gone."""

    n: int
    hash: bytes
    at: str
    cut: bool = False
    mac: bytes | None = None


@dataclass(slots=True)
class Report:
    """What a verification found. `last` and `head`: the last line and its hash, to be noted elsewhere."""

    lines: int = 0
    first: int = 0
    last: int = 0
    head: bytes = ZERO
    checkpoints: int = 0
    unvouched: int = 0
    """Checkpoints that no key here vouches for: made without one, or by a key that is not in the file any more."""
    faults: list[Fault] = field(default_factory=list)
    more: int = 0
    """Faults beyond FAULTS_MAX."""

    def fault(self, kind: FaultKind, first: int, last: int, words: str) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(Fault(kind, first, last, words))
        else:
            self.more += 1


def digest(before: bytes, line: str) -> bytes:
    return sha256(before.hex().encode() + line.encode()).digest()


def chained(lines: Iterable[str], before: bytes = ZERO, first: int = 1) -> Iterator[tuple[int, str, bytes]]:
    """What audit.append makes of lines: (number, line with its number, hash)."""
    for n, line in enumerate(lines, start=first):
        said = f'{{"n":{n},{line[1:]}'
        before = digest(before, said)
        yield n, said, before


def vouch(keys: MasterKeys, n: int, hash_: bytes, at: str, cut: bool) -> bytes:
    """A checkpoint's mac: the key's number (2 bytes) and HMAC-SHA256 under a key derived from it."""
    return keys.current.to_bytes(2, "big") + _mac(keys, keys.current, n, hash_, at, cut)


def _mac(keys: MasterKeys, number: int, n: int, hash_: bytes, at: str, cut: bool) -> bytes:
    said = f"{n}\0{hash_.hex()}\0{at}\0{int(cut)}"
    return hmac.digest(keys.derive(CHECKPOINT_PURPOSE, number), said.encode(), "sha256")


def vouched(keys: MasterKeys | None, point: Checkpoint) -> bool | None:
    """Whether a key vouches for the checkpoint; None where that cannot be said."""
    if keys is None or point.mac is None:
        return None
    try:
        expected = _mac(keys, int.from_bytes(point.mac[:2], "big"), point.n, point.hash, point.at, point.cut)
    except KeyFileError:
        return None
    return hmac.compare_digest(expected, point.mac[2:])


def verify(
    rows: Iterable[tuple[int, str, bytes]],
    checkpoints: Iterable[Checkpoint] = (),
    keys: MasterKeys | None = None,
    noted: Mapping[int, bytes] | None = None,
) -> Report:
    """Look at a whole trail, in order of the numbers.

    `noted` are hashes by line number that somebody wrote down elsewhere. A line whose hash does not fit was altered
    (or the one before it together with its hash); the lines behind it are measured by the stored hashes, so that one
    alteration is one fault.
    """
    report = Report()
    anchors, begin = _anchors(report, checkpoints, keys)
    for n, hash_ in (noted or {}).items():
        anchors.setdefault(n, []).append((hash_, "the note"))
    place, before = (begin.n, begin.hash) if begin is not None else (0, ZERO)
    known: bytes | None = before or None
    report.first, report.last, report.head = place + 1, place, before
    for n, line, hash_ in rows:
        if n <= place:
            continue  # a cut that was interrupted: these lines may still be there, and are not looked at
        if n != place + 1:
            report.fault("removed", place + 1, n - 1, f"{_lines(place + 1, n - 1)} missing")
            known = None  # what the chain was there nobody knows
        _look_at(report, n, line, hash_, known)
        for expected, said_by in anchors.pop(n, ()):
            if expected != hash_:
                words = f"{said_by} knows another hash of line {n}: it or lines before it were written anew"
                report.fault("rewritten", n, n, words)
        place, known = n, hash_
        report.lines += 1
    report.last, report.head = place, known or report.head
    for n in sorted(anchors):
        if n > place:
            words = f"{anchors[n][0][1]} knows a line {n}: {_lines(place + 1, n)} at least missing at the end"
            report.fault("ends-early", place + 1, n, words)
            break
    return report


def _anchors(
    report: Report, checkpoints: Iterable[Checkpoint], keys: MasterKeys | None
) -> tuple[dict[int, list[tuple[bytes, str]]], Checkpoint | None]:
    """Hashes that checkpoints know by line, and the last cut. A forged one is a fault and not believed."""
    anchors: dict[int, list[tuple[bytes, str]]] = {}
    begin: Checkpoint | None = None
    for point in checkpoints:
        report.checkpoints += 1
        sure = vouched(keys, point)
        if sure is None:
            report.unvouched += 1
        if sure is False:
            words = f"the checkpoint of {point.at} at line {point.n} is not by who has the key"
            report.fault("forged-checkpoint", point.n, point.n, words)
        elif point.cut:
            begin = point if begin is None or point.n > begin.n else begin
        else:
            anchors.setdefault(point.n, []).append((point.hash, f"the checkpoint of {point.at}"))
    if begin is not None:
        anchors = {n: known for n, known in anchors.items() if n > begin.n}
    return anchors, begin


def _look_at(report: Report, n: int, line: str, hash_: bytes, known: bytes | None) -> None:
    said = _NUMBER.match(line)
    if said is not None and int(said[1]) != n:
        report.fault("reordered", n, n, f"line {n} says that it is line {said[1]}")
    elif said is None or (known is not None and digest(known, line) != hash_):
        words = f"line {n} was altered, or line {n - 1} together with its hash"
        report.fault("altered", n, n, words)


def _lines(first: int, last: int) -> str:
    return f"line {first} is" if first == last else f"lines {first} to {last} are"
