"""What is said to one person, and what came of saying it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

Kind = Literal["escalation", "digest", "glass"]
Outcome = Literal["sent", "retry", "failed", "off"]
"""retry: another attempt can help; failed: none will; off: the channel is not set up."""

ATTEMPT_SECONDS = 30.0
"""Bound of one attempt, whatever the other side does: a mail server may take some seconds for a greeting and
for each answer (RFC 5321 4.5.3.2 has minutes; a message about an alert had better go another way by then)."""
DETAIL_CHARACTERS_MAX = 300  # of what the other side said; enough for a sentence


@dataclass(frozen=True, slots=True)
class Counts:
    """How many alerts the message is about, and of how many patients. `by_level` only for escalations; `accesses`,
    files that somebody of another team opened, only for broken glass, which is about no alert."""

    alerts: int
    patients: int
    by_severity: dict[str, int]
    by_level: dict[int, int]
    accesses: int = 0

    @property
    def nothing(self) -> bool:
        return not self.alerts and not self.accesses


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `delivery` is the same in each attempt."""

    delivery: UUID
    kind: Kind
    team: str
    person: str
    channel: str
    address: str
    language: Literal["fr", "en"]
    counts: Counts
    link: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of an attempt; `detail` is what the other side said, shortened."""

    outcome: Outcome
    detail: str = ""


def shortened(detail: object) -> str:
    """Text of the other side as it may be kept: one line, printable, bounded."""
    text = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
    return "".join(c if c.isprintable() else " " for c in text)[:DETAIL_CHARACTERS_MAX]


_NOT_AN_EMERGENCY = {
    "fr": "SCAD n'est pas un service d'urgence. En cas d'urgence : 15 ou 112.",
    "en": "SCAD is not an emergency service. In an emergency: 15 or 112.",
}


def subject(message: Message) -> str:
    """One line; nobody is named."""
    if message.kind == "glass":
        n = message.counts.accesses
        if message.language == "fr":
            return f"SCAD : {n} accès exceptionnel{'s' if n > 1 else ''} à examiner"
        return f"SCAD: {n} exceptional access{'es' if n > 1 else ''} to review"
    n = message.counts.alerts
    many = "s" if n > 1 else ""
    if message.kind == "digest":
        fr, en = (
            f"SCAD : {n} alerte{many} moyenne{many} ce matin",
            f"SCAD: {n} medium alert{many} this morning",
        )
    else:
        fr, en = f"SCAD : {n} alerte{many} sans réponse", f"SCAD: {n} unanswered alert{many}"
    return fr if message.language == "fr" else en


def _glass_body(message: Message) -> str:
    n, french = message.counts.accesses, message.language == "fr"
    whose = (f" ({message.team})" if message.team else "").rstrip()
    if french:
        lines = [
            f"{n} dossier(s) d'une autre équipe ont été ouverts par une personne de l'équipe{whose}, avec un motif.",
            "Qui, quand, quel dossier et pourquoi : la page le dit, et attend votre constat.",
        ]
    else:
        lines = [
            f"{n} file(s) of another team were opened by somebody of the team{whose}, with a reason.",
            "Who, when, which file and why: the page says it, and waits for your finding.",
        ]
    lines += ["", ("La page : " if french else "The page: ") + message.link]
    return "\n".join(lines) + "\n"


def body(message: Message) -> str:
    """Plain text: how many, since when nobody has answered, and where to look."""
    counts, french = message.counts, message.language == "fr"
    if message.kind == "glass":
        return _glass_body(message)
    patients = f"{counts.patients} patient" + ("s" if counts.patients > 1 else "")
    if message.kind == "digest":
        first = (
            f"{counts.alerts} alerte(s) de gravité moyenne attendent dans la file ({patients})."
            if french
            else f"{counts.alerts} alert(s) of medium severity wait in the queue ({patients})."
        )
    else:
        first = (
            f"{counts.alerts} alerte(s) ont dépassé leur délai sans que personne n'en ait pris note ({patients})."
            if french
            else f"{counts.alerts} alert(s) are past due and nobody has taken note of them ({patients})."
        )
    lines = [first]
    for level, number in sorted(counts.by_level.items()):
        lines.append(f"  {'niveau' if french else 'level'} {level}: {number}")
    lines += [
        "",
        ("La file : " if french else "The queue: ") + message.link,
        "",
        _NOT_AN_EMERGENCY[message.language],
    ]
    return "\n".join(lines) + "\n"
