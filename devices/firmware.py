"""The reference firmware client: what a device has to do so that no reading is ever lost.

- MQTT 5 (or 3.1.1), QoS 1, clean start off with a session that outlives a week offline, client id and user
  name equal to the device's serial, last will *offline* and retained status *online*.
- A reading is in the outbox before it is sent, and leaves it by a receipt alone. After a reconnect or a
  restart everything without a receipt is sent again; without a new receipt for a while, too.
- A backlog goes in arrays; the first reading of a message carries `oldest` when the device holds a lower seq.

A `Firmware` runs on a `devices.driver.Driver`, whose thread is the only one to touch the MQTT client.
`measure` and `submit` may be called from any thread.
"""

from __future__ import annotations

import sqlite3
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from devices.ledger import BadReceiptError, parse_receipt
from devices.outbox import Held, Outbox, OutboxFullError
from devices.times import format_instant

ARRAY_MAX = 500
"""Readings in one message (contract)."""
PAYLOAD_BYTES_MAX = 256 * 1024
"""Bytes of one message (contract)."""
MESSAGES_IN_FLIGHT_MAX = 20
"""Messages without PUBACK: mosquitto's own default for max_inflight_messages."""
READINGS_IN_FLIGHT_MAX = 1_000
"""Readings sent but without receipt: two full arrays keep the line busy, and a platform that is down finds
no more than this per device in the broker's queue when it comes back."""
SESSION_EXPIRY_S = 7 * 24 * 3600
"""The broker keeps receipts for a device that is away for a week; later ones come after the resending."""
KEEPALIVE_S = 30
RESEND_AFTER_S = 60.0
"""Without any receipt for this long everything unreceipted is sent again (the receipt may have been lost)."""
RESEND_AFTER_MAX_S = 600.0
"""The wait doubles up to this, so that a platform that is down for hours is not buried in copies."""
PATIENCE = 2.0
"""So many times as long as the oldest has waited is waited for the next receipt before everything is sent again. A
platform that has more to do than it can answers late: copies, which are more to do, would keep it there."""
LOST_AFTER_S = 3600.0
"""What has no receipt after this long with a line is sent again even where others get theirs all the time: the broker
holds nothing for the platform longer than an hour."""
NO_SUBSCRIBERS = 0x10
"""MQTT 5: a PUBACK that says nobody is there to take the message. mosquitto forgets shared subscriptions when
it restarts, so until the platform's bridges have subscribed again it acknowledges to nobody's benefit."""
TAKEN_OVER = 0x8E
"""MQTT 5: the broker closed the connection because another client came with the same serial."""
UNHEARD_AFTER_S = 5.0
"""How soon that is sent again: bridges connect again within 10 s. Doubles each time up to RESEND_AFTER_S."""

_log = structlog.get_logger("firmware")


class Counts(msgspec.Struct):
    """What a client has done since it started."""

    published: int = 0
    """Readings in messages handed to the MQTT client, repeats included."""
    receipted: int = 0
    rejected: int = 0
    receipts: int = 0
    bad_receipts: int = 0
    connects: int = 0
    rewinds: int = 0


class Firmware:
    """One device's client. `array_max` 1 sends every reading on its own."""

    def __init__(
        self,
        device: str,
        outbox: Outbox,
        *,
        password: str | None = None,
        version: str = "scad-reference 1.0",
        battery: int = 100,
        array_max: int = ARRAY_MAX,
        mqtt5: bool = True,
        tls: ssl.SSLContext | None = None,
        resend_after_s: float = RESEND_AFTER_S,
    ) -> None:
        if not 1 <= array_max <= ARRAY_MAX:
            raise ValueError(f"array_max is {array_max}; a message carries 1 to {ARRAY_MAX} readings")
        self.device = device
        self.outbox = outbox
        self.counts = Counts()
        self.error = ""
        """Why the device cannot talk to its broker, in words; empty when it can."""
        self.online = False
        self.taken_over = False
        """Another client with this serial has the line. The driver clears it and waits before it takes it back."""
        self.wake: Callable[[], None] = lambda: None
        """Set by the driver: something new waits in the outbox."""
        self._version = version
        self._battery = battery
        self._array_max = array_max
        self._topic = f"scad/v1/{device}/readings"
        self._status_topic = f"scad/v1/{device}/status"
        self._receipts_topic = f"scad/v1/{device}/receipts"
        self._cursor = 0  # everything held at or below this position is in flight
        self._in_flight = 0
        self._unacknowledged: dict[int, tuple[int, ...]] = {}  # mid -> positions, until PUBACK
        self._resend_first_s = resend_after_s
        self._resend_after_s = resend_after_s
        self._progress_at_s: float | None = None
        self._now_s: float | None = None
        self._first_sent: dict[int, float] = {}
        """Last position of each message without receipt, and when it first went out; time without a line is left
        out. In the order of time, and no more than readings in flight."""
        self._broke_at_s: float | None = None
        self._unheard = False
        self._unheard_after_s = UNHEARD_AFTER_S
        self.client = self._make_client(password, mqtt5, tls)

    def _make_client(self, password: str | None, mqtt5: bool, tls: ssl.SSLContext | None) -> mqtt.Client:
        session: dict[str, Any] = {} if mqtt5 else {"clean_session": False}
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.device,
            protocol=mqtt.MQTTv5 if mqtt5 else mqtt.MQTTv311,
            **session,
        )
        client.username_pw_set(self.device, password)
        if tls is not None:
            client.tls_set_context(tls)
        client.max_inflight_messages_set(MESSAGES_IN_FLIGHT_MAX)
        client.will_set(self._status_topic, self._status("offline"), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        self._mqtt5 = mqtt5
        return client

    # --- called from any thread ---

    def measure(
        self, kind: str, values: Mapping[str, Any], measured_at_ms: int, offset_min: int, **more: Any
    ) -> int:
        """Keep a new reading and send it when possible; returns its seq.

        `more` are the contract's optional fields (unit, flags, context). Raises OutboxFullError.
        """
        outbox = self.outbox
        with outbox.exclusive():
            seq = outbox.next_seq()
            reading: dict[str, Any] = {"v": 1, "device": self.device, "seq": seq, "kind": kind}
            if outbox.epoch:
                reading["epoch"] = outbox.epoch
            reading["measured_at"] = format_instant(measured_at_ms, offset_min)
            outbox.put(outbox.epoch, seq, msgspec.json.encode(reading | {"values": dict(values)} | more))
        self.wake()
        return seq

    def submit(self, *readings: Mapping[str, Any]) -> None:
        """Keep readings that already carry their seq (contract, section 1), all or none, in this order.

        Raises OutboxFullError, or ValueError for a reading that no message can carry.
        """
        self.outbox.put_many(
            [(int(r.get("epoch", 0)), int(r["seq"]), msgspec.json.encode(r)) for r in readings]
        )
        self.wake()

    @property
    def waiting(self) -> int:
        """Readings without a receipt."""
        return len(self.outbox)

    @property
    def battery(self) -> int:
        return self._battery

    # --- called by the driver, in its thread ---

    def connect(self, host: str, port: int) -> None:
        """Open the connection; blocks until TCP answers. Raises OSError."""
        if self._mqtt5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            self.client.connect(host, port, KEEPALIVE_S, clean_start=False, properties=properties)
        else:
            self.client.connect(host, port, KEEPALIVE_S)

    def pump(self) -> None:
        """Send as much of the outbox as the two bounds in flight allow."""
        while self.online and len(self._unacknowledged) < MESSAGES_IN_FLIGHT_MAX:
            if READINGS_IN_FLIGHT_MAX - self._in_flight < self._array_max:
                return  # a whole array or nothing: a backlog is not to be cut into crumbs
            waiting = self.outbox.after(self._cursor, self._array_max)
            if not waiting:
                return
            flying = {position for positions in self._unacknowledged.values() for position in positions}
            batch = self._fitting([held for held in waiting if held.position not in flying])
            last = batch[-1].position if batch else waiting[-1].position
            passed = [held for held in waiting if held.position <= last]
            if batch and not self._publish(batch):
                return
            self._cursor = last
            self._in_flight += len(passed)

    def _fitting(self, waiting: list[Held]) -> list[Held]:
        """The longest beginning that one message can carry, with room for brackets and `oldest`."""
        size = 64
        for index, held in enumerate(waiting):
            size += len(held.payload) + 1
            if size > PAYLOAD_BYTES_MAX and index:
                return waiting[:index]
        return waiting

    def _publish(self, batch: list[Held]) -> bool:
        positions = tuple(held.position for held in batch)
        info = self.client.publish(self._topic, encode_message(batch, self.outbox.oldest), qos=1)
        if info.rc not in (mqtt.MQTT_ERR_SUCCESS, mqtt.MQTT_ERR_NO_CONN):
            return False  # the client's own queue is full: a PUBACK or the next tick pumps again
        self._unacknowledged[info.mid] = positions
        if self._now_s is not None:
            self._first_sent.setdefault(positions[-1], self._now_s)
        self.counts.published += len(batch)
        return True

    def tick(self, now_s: float) -> None:
        """To be called about once a second with monotonic time: decides what is to be sent again."""
        self._now_s = now_s
        if not self.online:
            return
        if self._in_flight == 0 or self._progress_at_s is None:
            self._progress_at_s = now_s
        silent_s = now_s - self._progress_at_s
        if self._unheard and silent_s >= self._unheard_after_s:
            self._send_again(now_s)
            self._unheard_after_s = min(2 * self._unheard_after_s, RESEND_AFTER_S)
        elif silent_s >= self._resend_after_s:
            self._send_again(now_s)
            self._resend_after_s = min(2 * self._resend_after_s, RESEND_AFTER_MAX_S)
        elif self._waited_s() >= LOST_AFTER_S:
            self._send_again(now_s)
            self._first_sent.clear()
        self.pump()

    def _send_again(self, now_s: float) -> None:
        self._rewind()
        self._unheard = False
        self.counts.rewinds += 1
        self._progress_at_s = now_s

    def report_battery(self, percent: int) -> None:
        """Publish the status again when the battery's charge has changed."""
        if percent != self._battery:
            self._battery = percent
            self.client.will_set(self._status_topic, self._status("offline"), qos=1, retain=True)
            self.publish_status("online")

    def publish_status(self, state: str) -> None:
        if self.online:
            self.client.publish(self._status_topic, self._status(state), qos=1, retain=True)

    def _status(self, state: str) -> bytes:
        return msgspec.json.encode({"state": state, "battery": self._battery, "firmware": self._version})

    def _rewind(self) -> None:
        """Everything held is to be sent again, but for what the MQTT client itself still has in hand."""
        self._cursor = 0
        self._in_flight = 0

    # --- called by the MQTT client ---

    def _on_connect(
        self,
        client: mqtt.Client,
        _userdata: Any,
        flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Any,
    ) -> None:
        if reason.is_failure:
            self.error = f"the broker refuses the connection of {self.device}: {reason}"
            return
        self.error = ""
        self.online = True
        self.counts.connects += 1
        client.subscribe(self._receipts_topic, qos=1)
        self.publish_status("online")
        self._leave_out_the_time_away()
        if not (flags.session_present and self._platform_is_behind()):
            self._rewind()
            self._progress_at_s = None
        self.pump()

    def _leave_out_the_time_away(self) -> None:
        """What waits for a receipt has waited while there was a line, and goes on waiting: a line that breaks again
        and again does not put off the end."""
        if self._now_s is None or self._broke_at_s is None:
            return
        away_s = self._now_s - self._broke_at_s
        self._first_sent = {position: at_s + away_s for position, at_s in self._first_sent.items()}
        if self._progress_at_s is not None:
            self._progress_at_s += away_s
        self._broke_at_s = None

    def _platform_is_behind(self) -> bool:
        """Whether receipts take longer than the shortest wait allows for.

        Then what went out before the line broke most likely waits in the queues of a broker that still knows this
        device, and a whole region that sends it again with each broken line would keep the platform behind.
        """
        return max(self._resend_after_s, self._patience_s()) > self._resend_first_s

    def _on_disconnect(
        self, _client: mqtt.Client, _userdata: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if self.online:
            self._broke_at_s = self._now_s
        self.online = False
        self.taken_over = reason.value == TAKEN_OVER
        if reason.is_failure:
            self.error = self.error or f"{self.device} lost its broker: {reason}"

    def _on_publish(
        self, _client: mqtt.Client, _userdata: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        positions = self._unacknowledged.pop(mid, None)
        if reason.is_failure:
            self.error = (
                f"the broker refuses what {self.device} publishes: {reason}. "
                "Its user name must equal its serial, and the access list allow scad/v1/<serial>/#"
            )
        if positions is not None:
            if reason.value == NO_SUBSCRIBERS:
                self._unheard = True
            elif not reason.is_failure:
                self.outbox.mark_sent(positions)
            self.pump()

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        try:
            receipt = parse_receipt(bytes(message.payload))
        except BadReceiptError as error:
            self.counts.bad_receipts += 1
            _log.warning("receipt ignored", device=self.device, error=str(error))
            return
        try:
            settled = self.outbox.settle(receipt)
        except sqlite3.Error as error:  # a full or failing disk: what was not forgotten is sent again
            self.error = f"the outbox of {self.device} cannot be written: {error}"
            _log.error("receipt not applied", device=self.device, error=str(error))
            return
        self.counts.receipts += 1
        self.counts.receipted += len(settled.received)
        self.counts.rejected += len(settled.rejected)
        gone = [*settled.received, *(position for position, _ in settled.rejected)]
        self._in_flight -= sum(1 for position in gone if position <= self._cursor)
        if gone:
            self._progress_at_s = None
            self._resend_after_s = self._patience_s()
            for position in gone:
                self._first_sent.pop(position, None)
            self._unheard_after_s = UNHEARD_AFTER_S
        for _, rejection in settled.rejected:
            _log.info(
                "rejected", device=self.device, epoch=receipt.epoch, seq=rejection.seq, why=rejection.reason
            )
        self.pump()

    def _waited_s(self) -> float:
        """How long the oldest of what was sent waits for its receipt, or has waited for the one that is here now."""
        oldest = next(iter(self._first_sent.values()), None)
        return 0.0 if oldest is None or self._now_s is None else self._now_s - oldest

    def _patience_s(self) -> float:
        """How long to wait for the next receipt. What was gathered takes the platform's slow way, and what is measured
        meanwhile is receipted before it: the oldest counts, not the last."""
        return max(self._resend_first_s, min(PATIENCE * self._waited_s(), RESEND_AFTER_MAX_S))


def encode_message(batch: list[Held], oldest_of: Callable[[int], int | None]) -> bytes:
    """One reading as an object, several as an array; `oldest` on the first when a lower seq is held.

    The platform counts `through` from the first seq it sees of an epoch: without `oldest` a message that
    overtakes others would make it believe that the lower ones do not exist.
    """
    first, *rest = batch
    payload = first.payload
    oldest = oldest_of(first.epoch)
    if oldest is not None and oldest < first.seq:
        payload = payload[:-1] + b',"oldest":%d}' % oldest
    return b"[%s]" % b",".join([payload, *(held.payload for held in rest)]) if rest else payload


def submit_when_room(
    client: Firmware, readings: Sequence[Mapping[str, Any]], pause: Callable[[], bool]
) -> bool:
    """Submit all readings in order; while the outbox is full, `pause` is called until receipts make room.

    Nothing is dropped: False is returned when `pause` says False (stop), with the rest not submitted.
    """
    place, size = 0, len(readings)
    while place < len(readings):
        try:
            client.submit(*readings[place : place + size])
            place += size
            size = min(2 * size, len(readings))
        except OutboxFullError:
            if size > 1:
                size //= 2  # a smaller part may fit
            elif not pause():
                return False
    return True
