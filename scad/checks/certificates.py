"""Until when the servers' certificates and our authorities are valid."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from datetime import datetime

from cryptography import x509
from psycopg.conninfo import conninfo_to_dict

from scad.checks.finding import Finding, fault, fine, warning
from scad.settings import Settings

PART = "certificates"
SOON_DAYS = 21  # as Prometheus' rule ScadCertificateExpiring
CONNECT_SECONDS = 5.0
SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL's way to ask for TLS
REMEDY = "`deploy/make-secrets.sh renew`, then restart the servers one by one (docs/security.md)"

Connect = Callable[[str, int], ssl.SSLSocket]


def check_certificates(settings: Settings, now: datetime) -> list[Finding]:
    """One finding for each server that we speak TLS to, and each authority that we were given."""
    found: list[Finding] = []
    for name, pem in (("SCAD_MQTT_CA", settings.mqtt_ca), ("SCAD_KAFKA_CA", settings.kafka_ca)):
        found += [_judge(name, end, now, "every server and device that trusts it") for end in _ends(pem)]
    if settings.mqtt_tls:
        found.append(_ask("MQTT broker", settings.mqtt, _tls, now))
    if settings.kafka_tls:
        found += [_ask("Kafka broker", server.strip(), _tls, now) for server in settings.kafka.split(",")]
    given = conninfo_to_dict(settings.database)
    if str(given.get("sslmode", "")) in ("require", "verify-ca", "verify-full"):
        host = given.get("hostaddr") or given.get("host") or "localhost"
        found.append(_ask("database", f"{host}:{given.get('port') or 5432}", _postgres, now))
    return found


def _ask(server: str, address: str, connect: Connect, now: datetime) -> Finding:
    host, _, port = address.rpartition(":")
    try:
        with connect(host, int(port)) as line:
            raw = line.getpeercert(binary_form=True)
    except (OSError, ValueError) as error:
        return fault(
            PART, f"{server} {address}: no TLS ({error})", "is it there, and does it speak TLS on this port?"
        )
    if raw is None:
        return fault(PART, f"{server} {address} shows no certificate", REMEDY)
    return _judge(
        f"{server} {address}", x509.load_der_x509_certificate(raw).not_valid_after_utc, now, "everybody"
    )


def _judge(name: str, end: datetime, now: datetime, whom: str) -> Finding:
    days = (end - now).days
    text = f"{name}: certificate valid until {end:%Y-%m-%d}"
    if end <= now:
        return fault(PART, f"{text}: it has ended, and locks out {whom}", REMEDY)
    if days < SOON_DAYS:
        return warning(PART, f"{text}: {days} days", REMEDY)
    return fine(PART, f"{text} ({days} days)")


def _ends(pem: str) -> list[datetime]:
    if not pem:
        return []
    try:
        return [each.not_valid_after_utc for each in x509.load_pem_x509_certificates(pem.encode())]
    except ValueError:
        return []  # the settings' own check names it


def _any() -> ssl.SSLContext:
    """A context that looks at any certificate: whether it is to be trusted is asked where it is used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _wrap(line: socket.socket, host: str) -> ssl.SSLSocket:
    try:
        return _any().wrap_socket(line, server_hostname=host)
    except OSError:
        line.close()
        raise


def _tls(host: str, port: int) -> ssl.SSLSocket:
    return _wrap(socket.create_connection((host, port), timeout=CONNECT_SECONDS), host)


def _postgres(host: str, port: int) -> ssl.SSLSocket:
    line = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
    try:
        line.sendall(SSL_REQUEST)
        if line.recv(1) != b"S":
            raise ssl.SSLError("the server refuses TLS")
    except OSError:
        line.close()
        raise
    return _wrap(line, host)
