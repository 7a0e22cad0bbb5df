"""Settings from the environment, checked at start, all errors at once (docs/operation.md has the table).

A value that is a secret may be given as a file: SCAD_DATABASE_FILE instead of SCAD_DATABASE.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from scad.clock import Clock
from scad.settings_checks import database_fault, setting_faults, unknown_variables
from scad.tls import transport_faults


class SettingsError(ValueError):
    """One or more settings are missing or malformed; the message lists them all."""


def refuse(faults: list[str]) -> None:
    """Raises SettingsError that says all of them, when there are any."""
    if faults:
        raise SettingsError("; ".join(faults))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the services are. The defaults are those of compose.yaml seen from its own network."""

    kafka: str = "kafka:9092"
    """Bootstrap servers, comma separated."""
    kafka_embedded: bool = False
    """The broker is tansu: its remedies are switched on (streams/kafka.py)."""
    kafka_tls: bool = False
    """Speak TLS to the brokers; their certificates and names are checked (scad/tls.py)."""
    kafka_ca: str = ""
    """PEM of the only authority to trust, instead of the system's (as a file: SCAD_KAFKA_CA_FILE)."""
    kafka_certificate: str = ""
    kafka_key: str = ""
    kafka_user: str = ""
    """SASL account; empty: none. Needs TLS."""
    kafka_password: str = ""
    kafka_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    partitions: int = 12
    """Partitions of every topic; 12 divides among 1, 2, 3, 4, 6 or 12 workers."""
    replication: int = 1
    """Replicas of every topic; 3 in a cluster of three brokers."""
    mqtt: str = "mosquitto:1883"
    """host:port of the broker."""
    mqtt_user: str = "bridge"
    mqtt_password: str = ""
    mqtt_share: str = ""
    """Name of the subscription that the bridges share, a secret; empty: derived from their password."""
    mqtt_tls: bool = False
    """Speak TLS to the broker; its certificate and name are checked."""
    mqtt_ca: str = ""
    """PEM of the only authority to trust, instead of the system's (as a file: SCAD_MQTT_CA_FILE)."""
    mqtt_certificate: str = ""
    """PEM of a client's certificate, with mqtt_key: where the broker asks for one."""
    mqtt_key: str = ""
    database: str = "postgresql://scad@timescaledb:5432/scad"
    identity_keys: str = ""
    """Content of the key file that identities are encrypted by (as a file: SCAD_IDENTITY_KEYS_FILE); empty: no
    identity is written, and of sealed ones none is shown."""
    feed_host: str = "127.0.0.1"
    feed_port: int = 8080
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    """0: no metrics and health server (the feed has its own)."""
    worker_id: str = "worker-1"
    """Stable name of this worker: static membership spares a rebalance at each restart."""
    data_dir: str = "data"
    """Folder for what a process keeps on disk (Faust's, the fleet's outboxes)."""
    clock: str = ""
    """Simulated time (scad.clock); empty in production."""
    backlog_rate: Annotated[float, msgspec.Meta(gt=0)] = 1500.0
    """Readings a second that a worker takes from the backlog lane; below what it can do, so that live ones pass."""
    tick_seconds: float = 15.0
    """Wall seconds between two ticks of the worker: no-reading is at most this late."""
    session_seconds: Annotated[float, msgspec.Meta(ge=2, le=300)] = 10.0
    """After this long without a sign of life a worker's partitions go to others. Below 2 s a busy moment is taken
    for a death; above 300 s, Kafka's own rest of a group, nobody would wait."""
    state_format: Annotated[int, msgspec.Meta(ge=1, le=2)] = 2
    """Format in which a worker writes patients' states: the former one while workers of the former release are at
    work (docs/capacity.md); all of streams.stored.READABLE can be read."""
    synthetic_password: str = ""
    """MQTT password of `scad synthetic`; empty: none, or that of its --accounts."""
    fleet_password: str = ""
    """One MQTT password for all devices of `scad fleet`; empty: none, or those of its --accounts."""
    second_factor: str = ""
    """Roles that must have a second factor, comma separated; people of others may have one."""
    oidc_issuer: str = ""
    """Address of the OpenID Connect provider; empty: local accounts only."""
    oidc_client_id: str = ""
    oidc_client_secret: str = ""
    oidc_claim: str = "preferred_username"
    """The provider's claim that is the login of an account here."""
    oidc_acr: str = ""
    """Levels of authentication (acr) that are accepted, comma separated; empty: any."""
    oidc_scope: str = "openid profile"
    page_url: str = "http://127.0.0.1:8080/"
    """Where people open the page: what messages about alerts point to."""
    grafana_url: str = ""
    """Where people open Grafana, with a slash at the end; empty: the page has no link to it."""
    smtp_host: str = ""
    """Mail server for messages about alerts; empty: no mail is sent, what would have been is logged."""
    smtp_port: int = 587
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """tls: from the first byte (port 465); none: only for a relay on this machine, and without a login."""
    smtp_user: str = ""
    smtp_password: str = ""
    smtp_from: str = ""
    smtp_ca: str = ""
    """PEM of the authority to trust instead of the system's (as a file: SCAD_SMTP_CA_FILE)."""
    webhook_secret: str = ""
    """What webhooks are signed with, 32 characters at least; empty: none are sent."""
    webhook_ca: str = ""
    log_level: str = "info"
    otel_endpoint: str = ""
    """Address of an OpenTelemetry collector (OTLP over HTTP), such as http://collector:4318; empty: no traces."""
    otel_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
    """Share of the readings that are traced, the same ones in every process."""

    def make_clock(self) -> Clock:
        return Clock.parse(self.clock)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read SCAD_* from the environment. Raises SettingsError that names every bad variable."""
    environ = os.environ if environ is None else environ
    given: dict[str, object] = {}
    errors: list[str] = []
    for field in msgspec.structs.fields(Settings):
        name = f"SCAD_{field.name.upper()}"
        text = environ.get(name)
        path = environ.get(f"{name}_FILE")
        if path is not None:
            try:
                text = Path(path).read_text().strip()
            except OSError as error:
                errors.append(f"{name}_FILE={path}: {error.strerror}")
                continue
        if text is None:
            continue
        try:
            given[field.name] = msgspec.convert(text, field.type, strict=False)
        except msgspec.ValidationError as error:
            errors.append(f"{name}={text!r}: {error}")
    try:
        Clock.parse(str(given.get("clock", "")))
    except ValueError as error:
        errors.append(str(error))
    settings = Settings(**given)  # type: ignore[arg-type]  # what cannot be used is not in it
    errors += [*setting_faults(settings), *transport_faults(settings)]
    if "database" in given:  # else it is the default, and libpq need not be loaded by who has no database
        errors += database_fault(settings.database)
    errors += unknown_variables(environ, Settings.__struct_fields__)
    if errors:
        raise SettingsError("settings that cannot be used:\n  " + "\n  ".join(errors))
    return settings
