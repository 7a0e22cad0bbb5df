"""Mail and webhooks against real servers: taken, refused, slow, gone, and with the wrong certificate."""

from __future__ import annotations

import asyncio
import email
import hashlib
import hmac
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.header import decode_header, make_header
from email.message import Message as Letter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from deployed import make_secrets, need_openssl
from escalating import PAGE, SETTINGS, ProcessDiedError, Ward, paris, to

from alerts.escalation import Channels, Counts, Message, Sent
from alerts.escalation.mail import Mail, MailSettings
from alerts.escalation.message import DETAIL_CHARACTERS_MAX, body, shortened, subject
from alerts.escalation.outbox import CLAIM
from alerts.escalation.webhook import Webhook
from alerts.store.connection import Connection
from scad.services import HOST, free_port
from scad.settings import Settings, SettingsError

SECRET = "0123456789abcdef0123456789abcdef"
NOW = paris("10:30")
QUICK = 0.5  # seconds until a channel gives up on a silent server


def message(address: str, channel: str = "mail", **more: Any) -> Message:
    made = Message(
        delivery=UUID(int=7),
        kind="escalation",
        team="caen",
        person="bea",
        channel=channel,
        address=address,
        language="fr",
        counts=Counts(3, 2, {"high": 3}, {1: 2, 2: 1}),
        link=PAGE,
        created_at=NOW,
    )
    return replace(made, **more)


# ── mail ──────────────────────────────────────────────────────────────────────────────────────────────────


class MailServer:
    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        program = [sys.executable, str(Path(__file__).with_name("mail_server.py")), str(folder), *words]
        self._process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def letters(self) -> list[Letter]:
        return [email.message_from_bytes(file.read_bytes()) for file in sorted(self.folder.iterdir())]

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


StartMail = Callable[..., MailServer]


@pytest.fixture
def start_mail(tmp_path: Path) -> Iterator[StartMail]:
    running: list[MailServer] = []

    def start(*words: str) -> MailServer:
        folder = tmp_path / f"mail-{len(running)}"
        folder.mkdir()
        running.append(MailServer(folder, *words))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.crt, and a certificate of it for localhost and 127.0.0.1."""
    need_openssl()
    folder = tmp_path_factory.mktemp("certificates")
    assert make_secrets(folder, HOST).returncode == 0
    return folder


def post(server: MailServer, to_: str = "bea@example.org", **more: Any) -> Sent:
    known = {"security": "none", "sender": "scad@example.org", "answer_seconds": QUICK, "host": HOST}
    channel = Mail(MailSettings(port=server.port, **{**known, **more}))
    return asyncio.run(channel.send(message(to_), NOW))


def test_a_letter_says_how_many_and_where_and_names_nobody(start_mail: StartMail):
    server = start_mail()
    assert post(server) == Sent("sent")
    (letter,) = server.letters()
    assert letter["To"] == "bea@example.org"
    assert letter["Message-ID"] == f"<{UUID(int=7)}@example.org>"
    assert letter["Auto-Submitted"] == "auto-generated"
    shown = str(make_header(decode_header(letter["Subject"])))
    assert shown == "SCAD : 3 alertes sans réponse"
    text = letter.get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert PAGE in text
    assert "niveau 1: 2" in text
    assert "15 ou 112" in text


def test_letters_in_english_and_of_the_morning():
    english = message("x@example.org", language="en")
    assert subject(english) == "SCAD: 3 unanswered alerts"
    assert "nobody has taken note" in body(english)
    digest = message("x@example.org", kind="digest", counts=Counts(1, 1, {"medium": 1}, {}))
    assert subject(digest) == "SCAD : 1 alerte moyenne ce matin"
    assert "level" not in body(digest)


@pytest.mark.parametrize(
    ("address", "outcome", "says"),
    [
        ("later@example.org", "retry", "451"),
        ("never@example.org", "failed", "550 5.1.1 no such mailbox"),
        ("silent@example.org", "retry", "timed out"),
        ("twice@example.org", "retry", "421"),
    ],
)
def test_what_a_mail_server_answers_decides(start_mail: StartMail, address: str, outcome: str, says: str):
    sent = post(start_mail(), address)
    assert sent.outcome == outcome
    assert says in sent.detail


def test_a_mail_server_that_is_down_is_tried_again():
    channel = Mail(MailSettings(HOST, free_port(), "none", "scad@example.org"))
    sent = asyncio.run(channel.send(message("bea@example.org"), NOW))
    assert sent.outcome == "retry"
    assert "ConnectionRefused" in sent.detail


def test_starttls_with_a_certificate_of_the_given_authority(start_mail: StartMail, certificates: Path):
    pair = [str(certificates / "mosquitto_certificate"), str(certificates / "mosquitto_key")]
    authority = (certificates / "ca.crt").read_text()
    server = start_mail(*pair)
    assert post(server, security="starttls", ca=authority) == Sent("sent")
    untrusted = post(server, security="starttls")  # the system's authorities do not know it
    assert untrusted.outcome == "retry"
    assert "CERTIFICATE_VERIFY_FAILED" in untrusted.detail
    assert post(server, security="none").outcome == "failed"  # the server itself insists: 530
    assert len(server.letters()) == 1


def test_tls_from_the_first_byte_and_a_login(start_mail: StartMail, certificates: Path):
    pair = [str(certificates / "mosquitto_certificate"), str(certificates / "mosquitto_key")]
    server = start_mail(*pair, "implicit", "login")
    known = {"security": "tls", "ca": (certificates / "ca.crt").read_text(), "user": "scad"}
    assert post(server, password="right", **known) == Sent("sent")
    wrong = post(server, password="wrong", **known)
    assert wrong.outcome == "retry"
    assert "login refused" in wrong.detail
    assert "wrong" not in wrong.detail


def test_a_server_without_tls_gets_nothing(start_mail: StartMail):
    server = start_mail()
    assert post(server, security="starttls").outcome == "retry"
    assert server.letters() == []


# ── webhook ───────────────────────────────────────────────────────────────────────────────────────────────


class Receiver:
    """A real HTTP server; `answers` are the statuses it gives, the last one for ever. 0: no answer at all."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answers = [204]
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((dict(self.headers.items()), content))
                status = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                if status == 0:
                    receiver.released.wait(10)
                    return
                self.send_response(status)
                if status in (301, 307):
                    self.send_header("Location", "/elsewhere")
                said = b"" if status == 204 else b"said\nso " * 500
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://{HOST}:{self._server.server_address[1]}/scad"

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.stop()


def call(url: str, ca: str | None = None) -> Sent:
    return asyncio.run(Webhook(SECRET, ca, seconds=QUICK).send(message(url, "webhook"), NOW))


def test_a_webhook_carries_counts_a_link_and_a_signature(receiver: Receiver):
    assert call(receiver.url) == Sent("sent", "204")
    ((headers, content),) = receiver.requests
    said = json.loads(content)
    assert (said["alerts"], said["by_level"], said["link"]) == (3, {"1": 2, "2": 1}, PAGE)
    assert said["delivery"] == headers["X-SCAD-Delivery"] == str(UUID(int=7))
    assert int(headers["X-SCAD-Timestamp"]) == int(NOW.timestamp())
    signed = headers["X-SCAD-Timestamp"].encode() + b"." + content
    assert (
        headers["X-SCAD-Signature"] == "v1=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    )


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "sent"), (500, "retry"), (503, "retry"), (429, "retry"), (408, "retry"), (400, "failed"),
     (401, "failed"), (404, "failed"), (410, "failed"), (301, "failed"), (307, "failed"), (0, "retry")],
)  # fmt: skip
def test_what_a_receiver_answers_decides(receiver: Receiver, status: int, outcome: str):
    receiver.answers = [status]
    sent = call(receiver.url)
    assert sent.outcome == outcome
    assert len(sent.detail) <= DETAIL_CHARACTERS_MAX
    assert "\n" not in sent.detail
    assert len(receiver.requests) == 1, "no redirect is followed"


def test_a_receiver_that_is_down_is_tried_again():
    assert call(f"http://{HOST}:{free_port()}/").outcome == "retry"


def test_a_receiver_is_believed_only_with_a_certificate_that_is_trusted(certificates: Path):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "mosquitto_certificate", certificates / "mosquitto_key")
    receiver = Receiver(context)
    try:
        assert call(receiver.url, (certificates / "ca.crt").read_text()).outcome == "sent"
        refused = call(receiver.url)
        assert refused.outcome == "retry"
        assert "certificate" in refused.detail.lower()
        assert len(receiver.requests) == 1
    finally:
        receiver.stop()


def test_what_the_other_side_says_is_kept_short_and_on_one_line():
    assert shortened(b"a\r\nb\xff") == "a  b\ufffd"
    assert len(shortened("x" * 10_000)) == DETAIL_CHARACTERS_MAX


# ── settings ──────────────────────────────────────────────────────────────────────────────────────────────


def test_without_settings_every_channel_is_off():
    channels = Channels.from_settings(Settings())
    assert channels.channels == {}
    assert asyncio.run(channels.send(message("x@example.org"), NOW)).outcome == "off"


def test_with_settings_the_channels_are_there():
    given = Settings(smtp_host="mail", smtp_from="scad@example.org", webhook_secret=SECRET)
    assert set(Channels.from_settings(given).channels) == {"mail", "webhook"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"smtp_host": "mail"}, "SCAD_SMTP_FROM"),
        (
            {"smtp_host": "mail", "smtp_from": "a@b.example", "smtp_security": "none", "smtp_password": "x"},
            "anybody",
        ),
        ({"webhook_secret": "short"}, "too short"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, Any], says: str):
    with pytest.raises(SettingsError, match=says):
        Channels.from_settings(Settings(**given))


# ── from the alert to the server ──────────────────────────────────────────────────────────────────────────


class Dying:
    """A channel that sends, and whose process dies before it can say so."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def send(self, message: Message, now: Any) -> Sent:
        await self._inner.send(message, now)
        raise ProcessDiedError


def test_a_repetition_after_a_crash_can_be_told_by_mailbox_and_receiver(
    store: Connection, store_address: str, start_mail: StartMail, receiver: Receiver
):
    server = start_mail()
    ward = Ward(store, store_address)
    ward.set(
        {
            **SETTINGS,
            "steps": [{"after": 0, "to": [to("bea"), {**to("bea", "webhook"), "address": receiver.url}]}],
        }
    )
    ward.signal("10:00")
    ward.tick("10:30")
    mail = Mail(MailSettings(HOST, server.port, "none", "scad@example.org"))
    webhook = Webhook(SECRET)
    ward.mail, ward.webhook = Dying(mail), Dying(webhook)  # type: ignore[assignment]
    with pytest.raises(ProcessDiedError):
        ward.deliver("10:30")
    ward.mail, ward.webhook = mail, webhook  # type: ignore[assignment]
    assert ward.deliver((NOW + CLAIM).strftime("%H:%M:%S")) == {"sent": 2}
    letters = server.letters()
    assert len({letter["Message-ID"] for letter in letters}) == 1
    assert len({headers["X-SCAD-Delivery"] for headers, _ in receiver.requests}) == 1
    assert letters
    assert receiver.requests
