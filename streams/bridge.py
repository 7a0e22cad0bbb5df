"""MQTT to Kafka and receipts back.

- A message is acknowledged to the MQTT broker only when all in-sync replicas of Kafka have it, in the order
  of arrival. Until then it is the broker's, in a session that outlives us. What came twice goes on twice.
- Nothing grows: MQTT's receive maximum bounds what is in flight to us; while Kafka is away nothing is
  acknowledged and the broker keeps the rest. One fetch of receipts at a time goes the other way.
- What a device has gathered goes by the slow way, `scad.backlog`; what a flooding device sends beyond its allowance
  goes nowhere (streams/lanes.py). It is acknowledged to the MQTT broker, so that others are not stuck behind it,
  but no receipt follows: the device has it still.
- Several bridges share one subscription (streams/share.py), and the receipts' partitions by a consumer group.
  A receipt's offset is committed when the MQTT broker has acknowledged it; one that is published twice says the same.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter, deque
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

import msgspec
import paho.mqtt.client as mqtt
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from devices.payload import identity, split
from devices.readings import Refusal
from devices.refusals import Problem, Reason
from devices.status import BadStatusError, Status, parse_status
from devices.times import format_instant
from scad.clock import Clock
from scad.log import Named, follow, followed
from scad.settings import Settings
from scad.tls import mqtt_context, valid_until
from streams import metrics, receipts, topics
from streams.intake import encode_quarantine
from streams.kafka import RETRY_SECONDS, Record, ensure_topics, make_consumer, make_producer, produce, started
from streams.lanes import MESSAGES_BURST, MESSAGES_PER_S, Lane, Route, Router
from streams.share import client_id, subscriptions
from streams.topics import mqtt_topic

log = structlog.get_logger()

Result = TypeVar("Result")

RECEIPTS_GROUP = "scad-receipts"
IN_FLIGHT_MAX = 500
"""Messages that the broker sends without our acknowledgement; 128 MiB at the contract's largest payload."""
ARRIVED_MAX = 2 * IN_FLIGHT_MAX
"""What has arrived and is not yet on its way to Kafka: all of this connection, and as much of those before it, which
the broker has sent again or a device will. The oldest go first, so that nothing adds up with each reconnection."""
BATCH_MAX = 500  # messages in one round to Kafka, some 5 ms
FORWARDED_BYTES_MAX = 1_048_576
"""A larger payload is cut here, and the intake refuses it as too large; the contract allows 256 KiB."""
SESSION_EXPIRY_S = 3_600
"""How long the broker keeps messages for a bridge that is away. mosquitto deals messages out to absent
members of a share as well, so with several bridges a dead one holds its part back for this long at most;
devices send again what they have no receipt for, within minutes."""
KEEPALIVE_S = 30
RECONNECT_S = (1, 10)
RECEIPTS_MAX = 1_000  # receipts read, and published without PUBACK, at once
STOP_SECONDS = 5.0  # for the batch in hand
STUCK_SECONDS = 60.0
FAILURE = 0x80  # MQTT 5: reason codes from here on are refusals

_READINGS_OR_STATUS = re.compile(rf"{re.escape(topics.MQTT_PREFIX)}/([^/]+)/(readings|status)")


class StatusRecord(msgspec.Struct, frozen=True):
    """The value in `scad.status`."""

    device: str
    received_at: str
    status: Status


@dataclass(frozen=True, slots=True)
class Arrived:
    """One MQTT message, with the connection over which it came."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    connection: int
    received_at_ms: int


_encode = msgspec.json.Encoder().encode


def to_records(message: Arrived, router: Router) -> list[Record] | None:
    """What goes to Kafka for an MQTT message, nothing where it is held. None for what nobody follows up: another
    topic, a status that cannot be read, a retained status that was deleted."""
    match = _READINGS_OR_STATUS.fullmatch(message.topic)
    if match is None:
        return None
    device, leaf = match.groups()
    if leaf == "readings":
        route = router.route(device, message.payload, message.received_at_ms)
        if route.lane is Lane.HELD:
            return _held(message, device, route)
        topic = topics.TELEMETRY if route.lane is Lane.LIVE else topics.BACKLOG
        headers = (
            (topics.HEADER_RECEIVED_AT, format_instant(message.received_at_ms).encode()),
            (topics.HEADER_MQTT_TOPIC, message.topic.encode()),
        )
        return [Record(topic, device.encode(), message.payload[:FORWARDED_BYTES_MAX], headers)]
    states = f"{device}/{leaf}"  # no serial has a slash
    if router.route(states, b"", message.received_at_ms).lane is Lane.HELD:
        metrics.BRIDGE_HELD.inc()
        return []
    record = _status(message, device)
    return None if record is None else [record]


def _status(message: Arrived, device: str) -> Record | None:
    received_at = format_instant(message.received_at_ms)
    try:
        status = parse_status(message.payload)
    except BadStatusError:
        return None
    return Record(topics.STATUS, device.encode(), _encode(StatusRecord(device, received_at, status)))


def _held(message: Arrived, device: str, route: Route) -> list[Record]:
    """An example of a flood for the quarantine, once a minute. The rest is the device's own affair."""
    metrics.BRIDGE_HELD.inc()
    if not route.sample:
        return []
    detail = (
        f"payload: {device!r} sends more than {MESSAGES_PER_S:.0f} messages a second after {MESSAGES_BURST}; "
        f"{route.held} were not taken since the last example, and the device keeps them: look at its firmware"
    )
    log.error("bridge.flood", device=device, held=route.held)
    raw = message.payload[:FORWARDED_BYTES_MAX]
    seq, epoch = identity(raw)
    refusal = Refusal(
        device=device,
        reason=Reason.RATE_LIMITED,
        detail=detail,
        raw=raw,
        seq=seq,
        epoch=epoch,
        received_at_ms=message.received_at_ms,
    )
    return [Record(topics.QUARANTINE, device.encode(), encode_quarantine(refusal))]


def coalesce(records: Sequence[ConsumerRecord]) -> dict[tuple[str, int], receipts.Receipt]:
    """The receipts to publish, one for each device and epoch: the newest, with the refusals of all."""
    newest: dict[tuple[str, int], receipts.Receipt] = {}
    for record in records:
        try:
            decoded = receipts.decode_record(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            place = f"{record.topic}[{record.partition}]@{record.offset}"
            log.error("bridge.poison_record", record=place, error=type(error).__name__)
            continue
        key = (decoded.device, decoded.receipt.epoch)
        older = newest.get(key)
        newest[key] = decoded.receipt if older is None else receipts.merge(older, decoded.receipt)
    return newest


def follow_payloads(batch: Sequence[Arrived]) -> None:
    """Name each reading that is in Kafka now, where they are followed; as far as it can be read."""
    if followed():
        found: list[Named] = []
        for message in batch:
            device = message.topic.split("/")[2]
            with suppress(Problem):  # no payload of readings: the intake says why
                found += [Named(device, epoch, seq) for seq, epoch in map(identity, split(message.payload))]
        follow("bridge.forwarded", found)


class Bridge:
    """One bridge; `run` returns when `stop` is set."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._router = Router()
        self._arrived: deque[Arrived] = deque(maxlen=ARRIVED_MAX)  # appended to by paho's thread alone
        self._something = asyncio.Event()
        self._woken = False  # the loop has been told, and has not looked yet
        self._connection = 0
        self._resumed = 0  # what came over connections before this one, the broker sends again
        self._connected = False
        self._subscribed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unacknowledged: dict[int, asyncio.Future[None]] = {}
        self._busy_since: float | None = None
        self._client = self._make_client()

    async def run(self, stop: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        connected = await _unless(stop, self._connect())
        if connected is None:
            return
        producer, consumer = connected
        self._client.connect_async(*_address(self._settings.mqtt), keepalive=KEEPALIVE_S, **self._session())
        self._client.loop_start()
        metrics.BRIDGE_IN_FLIGHT.set_function(lambda: len(self._arrived))
        metrics.BRIDGE_FLOODING.set_function(lambda: self._router.flooding(self._clock.now_ms()))
        tasks = [
            asyncio.create_task(self._forward(producer), name="forward"),
            asyncio.create_task(self._return_receipts(consumer), name="receipts"),
        ]
        waiting = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({*tasks, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                for task in tasks:
                    if task.done():
                        task.result()
        finally:
            await self._end([*tasks, waiting], producer, consumer)

    async def _connect(self) -> tuple[AIOKafkaProducer, AIOKafkaConsumer]:
        await ensure_topics(self._settings)
        name = f"scad-bridge-{self._settings.worker_id}"
        producer = await make_producer(self._settings, name, exact_ends=False)
        consumer = make_consumer(
            self._settings,
            topics.RECEIPTS,
            client_id=name,
            group_id=RECEIPTS_GROUP,
            group_instance_id=self._settings.worker_id,
            max_poll_records=RECEIPTS_MAX,
        )
        return producer, await started(consumer, self._settings)

    def why_not_ready(self) -> str:
        if not self._connected:
            return f"the MQTT broker {self._settings.mqtt} is not connected"
        if not self._subscribed:
            return f"the MQTT broker {self._settings.mqtt} has not granted the subscription"
        if self._busy_since is not None and monotonic() - self._busy_since > STUCK_SECONDS:
            return f"Kafka has not acknowledged anything for {monotonic() - self._busy_since:.0f} s"
        return ""

    async def _end(
        self, tasks: list[asyncio.Task[Any]], producer: AIOKafkaProducer, consumer: AIOKafkaConsumer
    ) -> None:
        """Whatever was not acknowledged comes again, to us or to another bridge."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(producer.stop(), consumer.stop())

    # -- MQTT ------------------------------------------------------------------------------------------

    def _make_client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id(self._settings),
            protocol=mqtt.MQTTv5,
            manual_ack=True,
        )
        if self._settings.mqtt_password:
            client.username_pw_set(self._settings.mqtt_user, self._settings.mqtt_password)
        context = mqtt_context(self._settings)
        if context is not None:
            client.tls_set_context(context)
        client.reconnect_delay_set(*RECONNECT_S)
        client.max_inflight_messages_set(RECEIPTS_MAX)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _session(self) -> dict[str, Any]:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = IN_FLIGHT_MAX
        return {"clean_start": False, "properties": properties}

    # The callbacks run in paho's thread; whatever belongs to the loop is handed to it.

    def _on_connect(self, client: mqtt.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            log.error("bridge.mqtt_refused", broker=self._settings.mqtt, reason=str(reason))
            return
        self._connected = True
        if flags.session_present:
            self._resumed = self._connection
        metrics.BRIDGE_CONNECTED.set(1)
        metrics.BRIDGE_CERTIFICATE.set(valid_until(client.socket()))
        log.info("bridge.mqtt_connected", broker=self._settings.mqtt, session=flags.session_present)
        client.subscribe(subscriptions(self._settings))

    def _on_disconnect(self, client: mqtt.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._connection += 1  # message ids of another connection may mean other messages
        self._connected = self._subscribed = False
        metrics.BRIDGE_CONNECTED.set(0)
        log.warning("bridge.mqtt_disconnected", reason=str(reason))

    def _on_subscribe(self, client: mqtt.Client, _: Any, mid: int, reasons: Any, properties: Any) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            log.error("bridge.subscription_refused", reasons=refused)
            return
        self._subscribed = True
        log.info("bridge.subscribed")

    def _on_message(self, client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        arrived = Arrived(
            message.topic,
            bytes(message.payload),
            message.mid,
            message.qos,
            self._connection,
            self._clock.now_ms(),
        )
        self._arrived.append(arrived)
        if not self._woken:  # once for a burst; the loop takes the mark back before it looks
            self._woken = True
            self._in_loop(self._something.set)

    def _on_publish(self, client: mqtt.Client, _: Any, mid: int, reason: Any, properties: Any) -> None:
        self._in_loop(self._published, mid, reason)

    def _in_loop(self, call: Any, *arguments: Any) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop is closed: we are stopping, and nothing is acknowledged
                loop.call_soon_threadsafe(call, *arguments)

    # -- readings and states ---------------------------------------------------------------------------

    async def _forward(self, producer: AIOKafkaProducer) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            self._woken = False
            while self._arrived:
                if not (batch := self._take()):
                    continue
                self._busy_since = monotonic()
                await produce(producer, self._records(batch))
                self._busy_since = None
                age_ms = self._clock.now_ms() - batch[0].received_at_ms
                metrics.STAGE_SECONDS.labels("received").observe(max(0, age_ms) / 1000)
                self._acknowledge(batch)
                follow_payloads(batch)

    def _take(self) -> list[Arrived]:
        """The next messages, at most BATCH_MAX, without those that the broker sends again. Nobody else takes any:
        the other thread appends, and a full queue loses its oldest then and grows no shorter."""
        taken = [self._arrived.popleft() for _ in range(min(BATCH_MAX, len(self._arrived)))]
        return [message for message in taken if message.connection >= self._resumed]

    def _records(self, batch: Sequence[Arrived]) -> list[Record]:
        records: list[Record] = []
        for message in batch:
            found = to_records(message, self._router)
            if found is None:
                log.warning("bridge.ignored", topic=message.topic, bytes=len(message.payload))
                metrics.BRIDGED.labels("ignored").inc()
                continue
            if len(message.payload) > FORWARDED_BYTES_MAX:
                log.warning("bridge.cut", topic=message.topic, bytes=len(message.payload))
                metrics.BRIDGE_CUT.inc()
            records += found
        for topic, count in Counter(record.topic for record in records).items():
            metrics.BRIDGED.labels(topic).inc(count)
        return records

    def _acknowledge(self, batch: Sequence[Arrived]) -> None:
        """PUBACK in the order of arrival; what came over a connection that is gone comes again."""
        for message in batch:
            if message.connection == self._connection:
                self._client.ack(message.mid, message.qos)

    # -- receipts --------------------------------------------------------------------------------------

    async def _return_receipts(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            try:
                fetched = await consumer.getmany(timeout_ms=1_000)
                records = [record for records in fetched.values() for record in records]
                if not records:
                    continue
                await self._publish(coalesce(records))
                await consumer.commit({tp: part[-1].offset + 1 for tp, part in fetched.items()})
            except IllegalStateError:  # the partition is another bridge's by now, which publishes them too
                continue
            except KafkaError as error:
                log.warning("bridge.receipts_waiting", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _publish(self, newest: Mapping[tuple[str, int], receipts.Receipt]) -> None:
        """Publish and wait for every PUBACK; paho sends again what a lost connection left open."""
        waiting = []
        for (device, _), receipt in newest.items():
            sent = self._client.publish(
                mqtt_topic(device, "receipts"), receipts.encode_receipt(receipt), qos=1
            )
            future = asyncio.get_running_loop().create_future()
            self._unacknowledged[sent.mid] = future
            waiting.append(future)
        metrics.RECEIPTS_WAITING.set(len(waiting))
        await asyncio.gather(*waiting)
        metrics.RECEIPTS_WAITING.set(0)
        metrics.RECEIPTS.inc(len(waiting))

    def _published(self, mid: int, reason: Any) -> None:
        future = self._unacknowledged.pop(mid, None)
        if future is not None and not future.done():
            future.set_result(None)
        if reason.value >= FAILURE:  # a device without its receipt sends again and is answered again
            log.error("bridge.receipt_refused", reason=str(reason))


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, Result]) -> Result | None:
    """The result of `work`; None when `stop` is set before it is there."""
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    ends: set[asyncio.Future[Any]] = {doing, stopping}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if doing.done():
        return doing.result()
    doing.cancel()
    return None
