"""The MQTT broker: the bridge's log-in, and the access list."""

from __future__ import annotations

import secrets
import ssl
from queue import Empty, Queue

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from scad.checks.finding import Finding, fault, fine
from scad.settings import Settings
from scad.tls import mqtt_context

PART = "mqtt"
ANSWER_SECONDS = 10.0
ACCOUNT = "SCAD_MQTT_USER and SCAD_MQTT_PASSWORD have to be an account of the broker's password_file"
TRUST = "see SCAD_MQTT_CA and the names in the broker's certificate"
AWAY = "is mosquitto running, and SCAD_MQTT its host:port? SCAD_MQTT_TLS right?"
ACCESS = "acl_file has to be scad/services/mosquitto.acl (deploy/mosquitto.conf); send mosquitto a HUP"


class _Client:
    """One connection, one question at a time."""

    def __init__(self, settings: Settings, user: str | None) -> None:
        self._answers: Queue[ReasonCode] = Queue()
        self.line = mqtt.Client(
            CallbackAPIVersion.VERSION2, f"scad-check-{secrets.token_hex(4)}", protocol=mqtt.MQTTv5
        )
        self.line.on_connect = lambda _c, _u, _f, reason, _p: self._answers.put(reason)
        self.line.on_publish = lambda _c, _u, _m, reason, _p: self._answers.put(reason)
        if user:
            self.line.username_pw_set(user, settings.mqtt_password)
        if (context := mqtt_context(settings)) is not None:
            self.line.tls_set_context(context)

    def connect(self, address: str) -> ReasonCode:
        """Raises OSError, Empty."""
        host, _, port = address.rpartition(":")
        self.line.connect(host, int(port))
        self.line.loop_start()
        return self._answers.get(timeout=ANSWER_SECONDS)

    def publish(self, topic: str) -> ReasonCode:
        self.line.publish(topic, b"", qos=1)
        return self._answers.get(timeout=ANSWER_SECONDS)

    def close(self) -> None:
        self.line.disconnect()
        self.line.loop_stop()


def check_mqtt(settings: Settings) -> list[Finding]:
    """Log in as the bridge; publish what it may and what nobody may; try to enter without an account."""
    where = f"{settings.mqtt} as {settings.mqtt_user!r}"
    user = settings.mqtt_user if settings.mqtt_password else None
    client = _Client(settings, user)
    try:
        reason = client.connect(settings.mqtt)
        if reason.is_failure:
            return [fault(PART, f"{where}: the broker refuses the log-in ({reason})", ACCOUNT)]
        found = [fine(PART, f"{where}: logged in")]
        if user is None:
            return found  # a broker without accounts, as in demonstrations
        found.append(_may(client.publish("scad/v1/scad-check/receipts")))
        found.append(_may_not(client.publish("scad/v1/scad-check/nobody")))
    except ssl.SSLCertVerificationError as error:
        return [fault(PART, f"{where}: not to be trusted: {error.verify_message}", TRUST)]
    except (OSError, ValueError) as error:
        return [fault(PART, f"{where}: {error}", AWAY)]
    except Empty:
        return [
            fault(
                PART,
                f"{where}: no answer in {ANSWER_SECONDS:g} s",
                "look at mosquitto's log; is it a broker?",
            )
        ]
    finally:
        client.close()
    return [*found, *_anonymous(settings)]


def _may(reason: ReasonCode) -> Finding:
    if reason.is_failure:
        return fault(
            PART, f"the bridge may not publish receipts ({reason}): devices never forget a reading", ACCESS
        )
    return fine(PART, "the bridge may publish receipts")


def _may_not(reason: ReasonCode) -> Finding:
    if not reason.is_failure:
        return fault(
            PART, "there is no access list: every device may write and read what is another's", ACCESS
        )
    return fine(PART, "the access list is in force")


def _anonymous(settings: Settings) -> list[Finding]:
    client = _Client(settings, None)
    try:
        if client.connect(settings.mqtt).is_failure:
            return []
    except (OSError, ValueError, Empty):
        return []
    finally:
        client.close()
    return [
        fault(PART, "anybody may connect without an account", "allow_anonymous false (deploy/mosquitto.conf)")
    ]
