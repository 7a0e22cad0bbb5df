"""A made-up team with a chain, its alerts, and rounds of escalation over them at times of our choosing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
from test_store_signals import name_of, signal

from alerts import actions
from alerts.escalation import Channels, Message, Sent, Ticked, deliver, tick
from alerts.escalation.process import OPTIONS
from alerts.lifecycle import ActionRequest
from alerts.service_times import parse_service_times, record_service_times
from alerts.store import write_signals
from alerts.store.connection import Connection

PARIS = ZoneInfo("Europe/Paris")
PAGE = "https://scad.example.org/"


def paris(text: str) -> datetime:
    """An instant of Monday 23 November 2026 ("10:00"), or of another day ("2026-11-24T10:00")."""
    return datetime.fromisoformat(text if "T" in text else f"2026-11-23T{text}").replace(tzinfo=PARIS)


def to(person: str, channel: str = "mail", **more: str) -> dict[str, str]:
    address = f"{person}@example.org" if channel == "mail" else f"https://pager.example.org/{person}"
    return {"person": person, "channel": channel, "address": address, **more}


SETTINGS: dict[str, Any] = {
    "steps": [
        {"after": 0, "to": [to("bea")]},
        {"after": 30, "to": [to("dr-carre"), to("dr-carre", "webhook")]},
    ],
    "digest": {"at": "09:00", "to": [to("anne", language="en")]},
}


class ProcessDiedError(BaseException):
    """What a test raises in the place of a kill: nothing in the platform catches it."""


@dataclass
class Recorder:
    """A channel that remembers what it was given; `answers` are what it says, the last one for ever."""

    answers: list[str] = field(default_factory=lambda: ["sent"])
    messages: list[Message] = field(default_factory=list)

    async def send(self, message: Message, now: datetime) -> Sent:
        self.messages.append(message)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == "crash":
            raise ProcessDiedError
        return Sent(answer, "as told")  # type: ignore[arg-type]


class Ward:
    """The team `caen` with patients p-1, p-2 …; `mail` and `webhook` are its channels."""

    def __init__(self, store: Connection, address: str, settings: dict[str, Any] | None = None) -> None:
        self.store = store
        self.address = address
        self.mail, self.webhook = Recorder(), Recorder()
        self._n: dict[str, int] = {}
        store.execute("insert into scad.care_team (care_team, name) values ('caen', 'Caen')")
        self.set(settings or SETTINGS)

    @property
    def channels(self) -> Channels:
        return Channels(PAGE, {"mail": self.mail, "webhook": self.webhook})

    def set(self, settings: dict[str, Any]) -> None:
        times = parse_service_times(settings, "caen")
        record_service_times(self.store, "caen", times, "admin", paris("2026-01-01T08:00"))

    def signal(
        self, at: str, state: str = "raised", alert: int = 1, patient: str = "p-1", **changes: Any
    ) -> str:
        """One signal of the engine, known at `at`; returns the alert's name."""
        self.store.execute(
            "insert into scad.patient values (%s, 'caen', '2026-01-01T00:00Z') on conflict do nothing",
            (patient,),
        )
        self._n[patient] = self._n.get(patient, 0) + 1
        minutes = int((paris(at) - datetime.fromisoformat("2026-03-01T08:00:00+00:00")).total_seconds() // 60)
        made = signal(self._n[patient], state, minutes, alert, patient=patient, **changes)
        write_signals(self.store, [made], int(paris(at).timestamp() * 1000))
        return name_of(patient, alert)

    def act(self, alert: str, action: str, at: str, **more: Any) -> Any:
        request = ActionRequest(action=action, **more)  # type: ignore[arg-type]

        async def work(conn: psycopg.AsyncConnection[Any]) -> Any:
            return await actions.act(conn, UUID(alert), request, "anne", paris(at))

        return self.connected(work)

    def tick(self, at: str) -> Ticked:
        return self.connected(lambda conn: tick(conn, paris(at)))

    def deliver(self, at: str) -> dict[str, int]:
        return self.connected(lambda conn: deliver(conn, self.channels, paris(at)))

    def round(self, at: str) -> list[tuple[str, str, int]]:
        """What a process does at `at`; returns the messages that went out: person, channel, alerts in it."""
        before = len(self.mail.messages), len(self.webhook.messages)
        self.tick(at)
        self.deliver(at)
        sent = self.mail.messages[before[0] :] + self.webhook.messages[before[1] :]
        return [(message.person, message.channel, message.counts.alerts) for message in sent]

    def connected(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[Any]]) -> Any:
        """One process's life: a connection with the role of the service, some work, and the end."""

        async def life() -> Any:
            conn = await psycopg.AsyncConnection.connect(self.address, autocommit=True, **OPTIONS)
            async with conn:
                return await work(conn)

        return asyncio.run(life())

    def row(self, alert: str, columns: str = "state, escalation_level") -> tuple[Any, ...]:
        found = self.store.execute(f"select {columns} from scad.alert where alert = %s", (alert,)).fetchone()
        assert found is not None
        return found

    def attempts(self) -> list[tuple[Any, ...]]:
        return self.store.execute(
            "select attempt, outcome from scad.notification_attempt order by id"
        ).fetchall()
