"""Broken glass is told to the administrators: once, until it is heard, and naming nobody."""

from __future__ import annotations

import json

import pytest
from escalating import PAGE, Ward, paris

from alerts.escalation import metrics
from alerts.escalation.message import body, subject
from alerts.escalation.webhook import payload
from alerts.feed.accounts import create_account
from alerts.store.connection import Connection

SECRETS = ("p-1", "p-2", "malaise", "infirmiere", "Martin")


@pytest.fixture
def ward(store: Connection, store_address: str) -> Ward:
    found = Ward(store, store_address)
    at = paris("2026-01-01T08:00")
    for login, role, team in (
        ("admin", "administrator", None),
        ("chef", "administrator", None),
        ("infirmiere", "nurse", "caen"),
    ):
        create_account(store, login, "une phrase de passe", role, team, at=at, display_name="Claire Martin")  # type: ignore[arg-type]
    contacts = [
        ("admin", "mail", "admin@example.org"),
        ("admin", "webhook", "https://pager.example.org/admin"),
    ]
    for row in (*contacts, ("chef", "mail", "chef@example.org")):
        store.execute("insert into scad.administrator_contact values (%s, %s, %s)", row)
    store.execute("update scad.account set disabled_at = %s where login = 'chef'", (at,))
    for patient in ("p-1", "p-2"):
        store.execute("insert into scad.patient values (%s, 'caen', %s)", (patient, at))
    return found


def broken(ward: Ward, patient: str) -> None:
    ward.store.execute(
        "insert into scad.glass (patient, login, reason, expires_at)"
        " values (%s, 'infirmiere', 'malaise au domicile', now() + interval '1 hour')",
        (patient,),
    )


def told(ward: Ward) -> list[tuple[str, str, int]]:
    messages = [*ward.mail.messages, *ward.webhook.messages]
    return [(message.person, message.channel, message.counts.accesses) for message in messages]


def test_administrators_are_told_over_each_channel_once_and_nobody_is_named(ward: Ward):
    broken(ward, "p-1")
    assert ward.tick("03:00").glass == 1  # at night too: this is no matter of working hours
    ward.mail.answers = ["retry", "sent"]
    assert ward.deliver("03:00") == {"retry": 1, "sent": 1}
    assert ward.tick("03:01").glass == 0
    assert ward.deliver("03:01") == {"sent": 1}
    assert told(ward) == [("admin", "mail", 1), ("admin", "mail", 1), ("admin", "webhook", 1)]
    assert len({message.delivery for message in ward.mail.messages}) == 1
    (message,) = ward.webhook.messages
    assert message.link == f"{PAGE}glass/opened"
    said = json.loads(payload(message))
    assert (said["kind"], said["accesses"], "patients" in said) == ("glass", 1, False)
    letter = ward.mail.messages[0]
    for text in (subject(letter), body(letter), payload(message).decode(), repr(message)):
        assert not [secret for secret in SECRETS if secret in text]
    assert ward.attempts()[-1] == (2, "sent")


def test_a_flood_is_one_message_and_what_was_reviewed_is_none(ward: Ward):
    for patient in ("p-1", "p-2", "p-1"):
        broken(ward, patient)
    ward.tick("10:00")
    ward.store.execute(
        "update scad.glass set reviewed_by = 'chef', reviewed_at = now() where patient = 'p-1'"
    )
    assert ward.deliver("10:00") == {"sent": 2}
    assert told(ward) == [("admin", "mail", 1), ("admin", "webhook", 1)]
    broken(ward, "p-1")
    ward.tick("10:01")
    assert ward.deliver("10:01") == {}, "the next message waits, so that it takes in what follows"
    ward.store.execute("update scad.glass set reviewed_by = 'chef', reviewed_at = now()")
    assert ward.deliver("10:05") == {"withdrawn": 2}


def test_that_there_is_nobody_to_tell_is_counted(ward: Ward):
    ward.store.execute("delete from scad.administrator_contact where login = 'admin'")
    before = metrics.GLASS_UNHEARD._value.get()
    broken(ward, "p-1")
    assert ward.round("10:00") == []
    assert metrics.GLASS_UNHEARD._value.get() == before + 1
    assert metrics.GLASS_UNREVIEWED._value.get() == 1
