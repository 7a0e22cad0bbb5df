"""Transport security as the settings ask for it: TLS contexts, and what Kafka's clients are told.

Certificates are always checked, and so is the server's name. There is no setting that switches this off.
Keys are held in memory: `load_cert_chain` wants a path, and gets one that leads to no disk.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scad.settings import Settings


def client_context(ca: str = "", certificate: str = "", key: str = "") -> ssl.SSLContext:
    """A client's TLS context: at least TLS 1.2, the server's certificate and name checked.

    All three are PEM text. `ca`: the only authority that is trusted; empty: the system's. `certificate` (with
    its chain) and `key` show who we are. Raises ValueError that says which of them cannot be used.
    """
    try:
        context = ssl.create_default_context(cadata=ca or None)
    except ssl.SSLError as error:
        raise ValueError(f"the authority is no certificate in PEM form ({error.reason or error})") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if bool(certificate) != bool(key):
        raise ValueError("a certificate and its key belong together: give both, or neither")
    if certificate:
        _load_chain(context, certificate, key)
    return context


def _load_chain(context: ssl.SSLContext, certificate: str, key: str) -> None:
    memory = os.memfd_create("scad-key", os.MFD_CLOEXEC)
    try:
        with open(memory, "w", closefd=False) as file:
            file.write(f"{key}\n{certificate}\n")
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    except ssl.SSLError as error:
        raise ValueError(
            f"the certificate and its key cannot be used together ({error.reason or 'not in PEM form'})"
        ) from None
    finally:
        os.close(memory)


def valid_until(connection: object) -> float:
    """When the certificate of the other side expires, in seconds since 1970; 0 for a connection without TLS."""
    if not isinstance(connection, ssl.SSLSocket):
        return 0.0
    certificate = connection.getpeercert() or {}
    expires = certificate.get("notAfter")
    return float(ssl.cert_time_to_seconds(expires)) if isinstance(expires, str) else 0.0


def mqtt_context(settings: Settings) -> ssl.SSLContext | None:
    """For the MQTT broker; None: the settings ask for none. Raises ValueError."""
    if not settings.mqtt_tls:
        return None
    return client_context(settings.mqtt_ca, settings.mqtt_certificate, settings.mqtt_key)


def kafka_context(settings: Settings) -> ssl.SSLContext | None:
    """For the Kafka brokers; None: the settings ask for none. Raises ValueError."""
    if not settings.kafka_tls:
        return None
    return client_context(settings.kafka_ca, settings.kafka_certificate, settings.kafka_key)


def kafka_security(settings: Settings) -> dict[str, Any]:
    """What every client of aiokafka is given beside the brokers' addresses."""
    context = kafka_context(settings)
    if context is None:
        return {}
    if not settings.kafka_user:
        return {"security_protocol": "SSL", "ssl_context": context}
    return {
        "security_protocol": "SASL_SSL",
        "ssl_context": context,
        "sasl_mechanism": settings.kafka_mechanism,
        "sasl_plain_username": settings.kafka_user,
        "sasl_plain_password": settings.kafka_password,
    }


def faust_credentials(settings: Settings) -> Any:
    """The same for Faust's own clients (`broker_credentials`); None: no TLS."""
    from faust.auth import SASLCredentials, SSLCredentials

    context = kafka_context(settings)
    if context is None:
        return None
    if not settings.kafka_user:
        return SSLCredentials(context)
    return SASLCredentials(
        username=settings.kafka_user,
        password=settings.kafka_password,
        mechanism=settings.kafka_mechanism,
        ssl_context=context,
    )


def transport_faults(settings: Settings) -> list[str]:
    """What is wrong with the settings of the lines, in words without a secret; empty when nothing is."""
    faults = []
    if set(settings.mqtt_share) & set("/+#\0"):
        faults.append("SCAD_MQTT_SHARE: the name of a share has none of / + #")
    for service in ("MQTT", "KAFKA"):
        low = service.lower()
        parts = {name: getattr(settings, f"{low}_{name}") for name in ("ca", "certificate", "key")}
        given = [f"SCAD_{service}_{name.upper()}" for name, value in parts.items() if value]
        if not getattr(settings, f"{low}_tls"):
            if given:
                faults.append(
                    f"{given[0]} is given and SCAD_{service}_TLS is not true: nothing would be encrypted"
                )
            continue
        try:
            client_context(**parts)
        except ValueError as error:
            faults.append(f"SCAD_{service}_CA, SCAD_{service}_CERTIFICATE, SCAD_{service}_KEY: {error}")
    if bool(settings.kafka_user) != bool(settings.kafka_password):
        faults.append("SCAD_KAFKA_USER and SCAD_KAFKA_PASSWORD belong together: give both, or neither")
    elif settings.kafka_user and not settings.kafka_tls:
        faults.append("SCAD_KAFKA_USER needs SCAD_KAFKA_TLS=true: no password goes over an open line")
    return faults
