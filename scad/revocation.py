"""Taking a device's access away so that it ends at once, standing connections included.

The broker checks a password or certificate when a client connects. What stands is cut by MQTT itself: of two
clients with one client id the broker drops the older. A device's client id is its serial (the broker sees to it:
`use_username_as_clientid`), so the platform's own account `operator`, which may neither publish nor subscribe,
connects under it, with a clean session: the device is dropped, and its session with everything queued is gone.

In this order, so that the device cannot come back in between: its account is taken out of the password file (or
its certificate is on the list of revoked ones), the broker has read that again, and only then is it cut.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from scad.services.mosquitto import password_line

log = structlog.get_logger()

SERIAL = re.compile(r"[A-Za-z0-9._-]{1,64}")
OWN_ACCOUNTS = frozenset({"bridge", "operator"})
"""Accounts of the platform itself: no device's, and not to be taken away here."""
PROBE_PREFIX = "probe-of-a-reload-"
ANSWER_SECONDS = 10.0
"""For a connection to be answered, and for the broker to read its files again."""
WATCH_SECONDS = 3.0
"""How long the device's client id is held: one that can still connect comes back within a second or two."""
POLL_SECONDS = 0.05


class RevocationError(RuntimeError):
    """The device may still have access; the message says what to do."""


@dataclass(frozen=True)
class Broker:
    """How the platform's own account reaches the broker, on the listener that lets it choose its client id."""

    host: str
    port: int
    user: str
    password: str
    tls: ssl.SSLContext | None = None


def check_serial(device: str) -> None:
    """Raises RevocationError for what is no device's serial."""
    if SERIAL.fullmatch(device) is None:
        raise RevocationError(f"{device!r} is no serial: 1 to 64 of A-Z a-z 0-9 . _ - are allowed")
    if device in OWN_ACCOUNTS:
        raise RevocationError(f"{device} is an account of the platform itself")


def remove_account(passwords: Path, device: str, pid_file: Path, broker: Broker) -> bool:
    """Take the account out of mosquitto's password file and return when the broker knows; False: it had none.

    A probe, an account drawn for this moment that may do nothing, goes into the file with the change: once it
    can connect, the broker has read the file again. Raises RevocationError.
    """
    check_serial(device)
    try:
        lines = passwords.read_text().splitlines()
        pid = int(pid_file.read_text())
    except (OSError, ValueError) as error:
        raise RevocationError(f"{device} keeps its account, because a file cannot be read: {error}") from None
    kept = [line for line in lines if line.partition(":")[0] != device and not line.startswith(PROBE_PREFIX)]
    probe = Broker(
        broker.host, broker.port, PROBE_PREFIX + secrets.token_hex(4), secrets.token_urlsafe(24), broker.tls
    )
    _write_in_place(passwords, [*kept, password_line(probe.user, probe.password)])
    try:
        os.kill(pid, signal.SIGHUP)
        _until(
            lambda: _accepts(probe),
            "the broker has not read its password file again; is the process id right?",
        )
    except ProcessLookupError:
        raise RevocationError(f"{pid_file} names process {pid}, which does not run") from None
    finally:
        _write_in_place(passwords, kept)
    os.kill(pid, signal.SIGHUP)
    return len(kept) < len([line for line in lines if not line.startswith(PROBE_PREFIX)])


def _write_in_place(path: Path, lines: list[str]) -> None:
    """The same file: a container that was given this very file would not see another one in its place."""
    mode = path.stat().st_mode
    path.chmod(mode | 0o200)
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(mode)


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = monotonic() + ANSWER_SECONDS
    while not condition():
        if monotonic() > deadline:
            raise RevocationError(otherwise)
        sleep(POLL_SECONDS)


def cut(device: str, broker: Broker, watch_seconds: float = WATCH_SECONDS) -> None:
    """Drop the device's standing connection and its session.

    Raises RevocationError when the broker does not take us, or when the device came back while it was watched:
    its account or certificate still stands.
    """
    check_serial(device)
    connection = _Connection(broker, device)
    try:
        refusal = connection.open()
        if refusal:
            raise RevocationError(
                f"{device} is not cut: {broker.host}:{broker.port} refuses the account {broker.user!r} ({refusal})"
            )
        if connection.lost.wait(watch_seconds):
            raise RevocationError(
                f"{device} came back: its account or certificate still stands. Take it away, let the broker read "
                "its files again (SIGHUP), and repeat"
            )
    except OSError as error:
        raise RevocationError(
            f"{device} is not cut: {broker.host}:{broker.port} cannot be reached: {error}"
        ) from None
    finally:
        connection.close()
    log.warning("device.cut", device=device, broker=f"{broker.host}:{broker.port}")


def _accepts(broker: Broker) -> bool:
    connection = _Connection(broker, broker.user)
    try:
        return connection.open() == ""
    except OSError:
        return False
    finally:
        connection.close()


@dataclass
class _Connection:
    """One connection that leaves no session behind. `lost` is set when the broker ends it."""

    broker: Broker
    client_id: str
    lost: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._answered = threading.Event()
        self._refusal = ""
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        client.username_pw_set(self.broker.user, self.broker.password)
        if self.broker.tls is not None:
            client.tls_set_context(self.broker.tls)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        self._client = client

    def open(self) -> str:
        """Empty when the broker said yes, else its refusal. Raises OSError."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0
        self._client.connect(self.broker.host, self.broker.port, clean_start=True, properties=properties)
        self._client.loop_start()
        if not self._answered.wait(ANSWER_SECONDS):
            return "no answer"
        return self._refusal

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: mqtt.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._refusal = str(reason) if reason.is_failure else ""
        self._answered.set()

    def _on_disconnect(self, client: mqtt.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure and not self._answered.is_set():
            self._refusal = str(reason)
            self._answered.set()
        self.lost.set()
