"""mosquitto with an account per device and an access list, on 127.0.0.1."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import signal
import socket
import ssl
import struct
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from scad.services.base import HOST, Service, free_port, wait_until
from scad.services.places import mosquitto_programs

ACL_FILE = Path(__file__).with_name("mosquitto.acl")
LIMITS_FILE = Path(__file__).with_name("mosquitto_limits.conf")
BRIDGE_USER = "bridge"

HASH_ITERATIONS = 101
"""mosquitto_passwd's own number. Secrets of devices are drawn at random, so stretching adds nothing, and
hundreds of devices connect at once after a restart."""
SALT_BYTES = 12
RELOAD_SECONDS = 10.0
PROBE_SECONDS = 2.0
ACCEPTED = 0
REFUSED_USER_NAME = re.compile(r"[:\n\r]")


def password_line(user: str, password: str, salt: bytes | None = None) -> str:
    """A line of mosquitto's password file: PBKDF2 with SHA-512 in the format `$7$` of mosquitto 2.

    Raises ValueError for a user name that the file cannot hold.
    """
    if not user or REFUSED_USER_NAME.search(user):
        raise ValueError(
            f"{user!r} cannot be a user name of mosquitto: it is empty or holds a colon or line end"
        )
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, HASH_ITERATIONS)
    fields = (str(HASH_ITERATIONS), base64.b64encode(salt).decode(), base64.b64encode(digest).decode())
    return f"{user}:$7${'$'.join(fields)}"


def config_text(port: int, password_file: Path, acl_file: Path, data: Path) -> str:
    """The configuration of a broker on 127.0.0.1."""
    lines = [
        *(
            ["user root"] if os.geteuid() == 0 else []
        ),  # else root's broker becomes a user that cannot read this
        f"persistence_location {data}/",
        "log_dest stderr",
        "connection_messages false",
        f"listener {port} {HOST}",
        "allow_anonymous false",
        f"password_file {password_file}",
        f"acl_file {acl_file}",
    ]
    return LIMITS_FILE.read_text() + "\n".join(lines) + "\n"


def connack(
    port: int, user: str | None = None, password: str = "", tls: ssl.SSLContext | None = None
) -> int | None:
    """The broker's answer to a CONNECT of MQTT 3.1.1: 0 accepted, 4 or 5 refused, None no answer."""
    client_id = f"scad-probe-{secrets.token_hex(4)}".encode()
    flags = 0x02 | (0xC0 if user is not None else 0)
    words = [client_id] if user is None else [client_id, user.encode(), password.encode()]
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + struct.pack(">H", 10)
    body += b"".join(struct.pack(">H", len(word)) + word for word in words)
    try:
        with ExitStack() as held:
            connection = held.enter_context(socket.create_connection((HOST, port), timeout=PROBE_SECONDS))
            if tls is not None:
                connection = held.enter_context(tls.wrap_socket(connection, server_hostname="localhost"))
            connection.sendall(bytes([0x10, len(body)]) + body)
            answer = connection.recv(4)
            connection.sendall(b"\xe0\x00")
    except OSError:
        return None
    return answer[3] if len(answer) == 4 and answer[0] == 0x20 else None


class Mosquitto(Service):
    """The broker. `accounts`: user name to password; the account `bridge` gets one when it has none."""

    name = "mosquitto"

    def __init__(
        self, folder: Path, accounts: Mapping[str, str] | None = None, port: int | None = None
    ) -> None:
        super().__init__(folder)
        self.port = port or free_port()
        self.accounts = {BRIDGE_USER: secrets.token_urlsafe(16), **(accounts or {})}
        self._lines: dict[str, str] = {}

    @property
    def address(self) -> str:
        """host:port."""
        return f"{HOST}:{self.port}"

    @property
    def bridge_password(self) -> str:
        return self.accounts[BRIDGE_USER]

    @property
    def version(self) -> str:
        said = subprocess.run([mosquitto_programs().broker, "-h"], capture_output=True, text=True).stdout
        found = re.search(r"mosquitto version (\S+)", said)
        return found[1] if found else "of unknown version"

    def program(self, name: str) -> str:
        """Path of a program of this mosquitto: `mosquitto_pub`, `mosquitto_sub`, `mosquitto_passwd`."""
        return str(mosquitto_programs().publish.with_name(name))

    def command(self) -> list[str]:
        return [str(mosquitto_programs().broker), "-c", str(self.folder / "mosquitto.conf")]

    def prepare(self) -> None:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        self._write_passwords()
        _write_private(self.folder / "acl", ACL_FILE.read_text())
        text = config_text(self.port, self.folder / "passwords", self.folder / "acl", data)
        (self.folder / "mosquitto.conf").write_text(text)

    def answers(self) -> bool:
        return connack(self.port, BRIDGE_USER, self.bridge_password) == ACCEPTED

    def add_accounts(self, accounts: Mapping[str, str]) -> None:
        """Add or change accounts while the broker runs; returns when it knows them."""
        self.accounts.update(accounts)
        for user in accounts:
            self._lines.pop(user, None)
        if not self.running or not accounts:
            return
        self._write_passwords()
        self._reload()
        user, password = list(accounts.items())[-1]
        wait_until(
            lambda: connack(self.port, user, password) == ACCEPTED,
            RELOAD_SECONDS,
            f"the account {user} in mosquitto",
        )

    def add_account(self, user: str, password: str) -> None:
        self.add_accounts({user: password})

    def remove_account(self, user: str) -> None:
        """Take an account away; a connection that stands is not cut by mosquitto."""
        password = self.accounts.pop(user)
        self._lines.pop(user, None)
        if self.running:
            self._write_passwords()
            self._reload()
            wait_until(
                lambda: connack(self.port, user, password) not in (ACCEPTED, None),
                RELOAD_SECONDS,
                f"mosquitto to forget {user}",
            )

    def _reload(self) -> None:
        assert self.pid is not None  # noqa: S101 - the callers have looked
        os.kill(self.pid, signal.SIGHUP)

    def _write_passwords(self) -> None:
        for user, password in self.accounts.items():
            if user not in self._lines:
                self._lines[user] = password_line(user, password)
        _write_private(self.folder / "passwords", "".join(f"{line}\n" for line in self._lines.values()))


def _write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only (mosquitto 2.1 will insist on that)."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
