"""Settings in words: what holds, and what differs between two versions. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from alerts.feed.formats import Formats
from alerts.feed.texts import Texts
from alerts.feed.ward.differences import Difference
from alerts.service_times import DAYS, Contact, ServiceTimes
from devices.times import from_datetime

# Order of the groups on the page.
GROUPS = ("due", "hours", "chain", "outside", "digest")


@dataclass(frozen=True, slots=True)
class Told:
    """One setting: to which group it belongs, what it is called, what it says."""

    group: str
    name: str
    label: str
    text: str


def minutes(texts: Texts, n: int) -> str:
    """Working minutes as people say them: "30 min", "8 h", "1 h 30"."""
    if n < 60:
        return texts("due.minutes", n=n)
    return texts("team.hours", n=n // 60) if n % 60 == 0 else texts("due.hours", n=n // 60, rest=n % 60)


def contact(texts: Texts, formats: Formats, one: Contact, now_ms: int) -> str:
    """Who is told, how, and in which turn: "bea (e-mail bea@example.org), until 1 Dec 08:00"."""
    parts = [f"{one.person} ({texts(f'team.channel_{one.channel}')} {one.address})"]
    if one.from_ is not None:
        parts.append(texts("team.turn_from", time=formats.moment(from_datetime(one.from_), now_ms)))
    if one.until is not None:
        parts.append(texts("team.turn_until", time=formats.moment(from_datetime(one.until), now_ms)))
    return " ".join(parts)


def tell(times: ServiceTimes, texts: Texts, formats: Formats, now_ms: int) -> list[Told]:
    """All settings in the page's order."""

    def people(contacts: tuple[Contact, ...]) -> str:
        return ", ".join(contact(texts, formats, one, now_ms) for one in contacts) or texts("team.nobody")

    found = [
        Told("due", name, texts(f"team.due_{name}"), minutes(texts, getattr(times.due, name)))
        for name in ("high", "medium", "low", "technical")
    ]
    found += [
        Told("hours", day, texts(f"team.{day}"), _spans(getattr(times.hours, day)) or texts("team.shut"))
        for day in DAYS
    ]
    found += [
        Told("hours", "holidays", texts("team.holidays"), texts(f"team.holidays_{times.holidays}")),
        Told(
            "hours",
            "closed",
            texts("team.closed"),
            ", ".join(formats.date(day) for day in times.closed) or texts("team.none"),
        ),
        Told(
            "chain",
            "escalate",
            texts("team.escalate"),
            ", ".join(texts(f"severity.{s}") for s in times.escalate) or texts("team.none"),
        ),
    ]
    for number, step in enumerate(times.steps):
        late = (
            texts("team.at_due")
            if step.after == 0
            else texts("team.past_due", time=minutes(texts, step.after))
        )
        label = texts("team.step", n=number + 1)
        text = texts("team.step_says", late=late, people=people(step.to))
        found.append(Told("chain", f"step{number}", label, text))
    found += [
        Told("outside", "fr", texts("team.outside_fr"), times.outside_hours.fr),
        Told("outside", "en", texts("team.outside_en"), times.outside_hours.en),
        Told("digest", "at", texts("team.digest_at"), times.digest.at),
        Told("digest", "to", texts("team.digest_to"), people(times.digest.to)),
    ]
    return found


def _spans(spans: tuple[str, ...]) -> str:
    return ", ".join(span.replace("-", "–") for span in spans)


def what_changed(before: list[Told], after: list[Told], nothing: str) -> list[Difference]:
    """What two versions say differently, in words."""
    was = {(one.group, one.name): one for one in before}
    now = {(one.group, one.name): one for one in after}
    found = []
    for key in [*now, *(key for key in was if key not in now)]:
        old, new = was.get(key), now.get(key)
        label = (new or old).label  # type: ignore[union-attr]
        texts = (old.text if old else nothing, new.text if new else nothing)
        if texts[0] != texts[1]:
            found.append(Difference(label, *texts))
    return found


def changes(versions: list[list[Told]], nothing: str) -> list[list[Difference]]:
    """For each version but the first what it changed, in order."""
    return [what_changed(before, after, nothing) for before, after in pairwise(versions)]
