"""What the worker and the bridge count. Labels are bounded: outcomes, reasons, rules and states, never a
device or a patient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

LATENESS_SECONDS = (1, 5, 30, 120, 600, 3_600, 6 * 3_600, 86_400, 7 * 86_400, 14 * 86_400, 35 * 86_400)
"""From live to the horizon of 35 days."""
BATCH_RECORDS = (1, 3, 10, 30, 100, 300, 1_000, 3_000)

READINGS = Counter("scad_readings", "Readings by what became of them", ["outcome"])
REFUSALS = Counter("scad_refusals", "Refused readings by reason", ["reason"])
LATENESS = Histogram(
    "scad_reading_lateness_seconds", "Received after measured, accepted readings", buckets=LATENESS_SECONDS
)
SIGNALS = Counter("scad_signals", "Alert signals produced", ["protocol", "rule", "state"])
BACKLOG_READINGS = Counter("scad_worker_backlog_readings", "Readings taken from the backlog lane")
BACKLOG_AGE = Gauge(
    "scad_worker_backlog_age_seconds",
    "How long what is being taken from the backlog lane has waited in it; 0 while it is empty",
)
POISON = Counter("scad_poison_records", "Records of our own topics that could not be worked on", ["topic"])
REBUILT = Counter("scad_worker_states_rebuilt", "Patients' states that were damaged and made anew from Kafka")
BATCHES = Histogram("scad_worker_batch_records", "Records in one batch", ["agent"], buckets=BATCH_RECORDS)
BATCH_SECONDS = Histogram("scad_worker_batch_seconds", "From a batch's begin to its end", ["agent"])
COMMIT_AGE = Gauge(
    "scad_worker_commit_age_seconds", "How long the oldest fetched record waits for its commit"
)
PATIENTS = Gauge("scad_worker_patients", "Patients whose state this worker holds")
ROUNDS = Counter("scad_worker_takeovers", "Times that partitions were taken over")
TICKED = Counter("scad_worker_ticks", "Patients evaluated because time passed")


class LagByPartition(Collector):
    """Asked for when somebody scrapes: partitions come and go, and a gauge of one that went would stay."""

    def __init__(self) -> None:
        self.source: Callable[[], Mapping[tuple[str, int], int]] = dict

    def describe(self) -> list[GaugeMetricFamily]:
        return [
            GaugeMetricFamily(
                "scad_worker_lag_records",
                "Records of a partition that this worker has not worked on yet",
                labels=["topic", "partition"],
            )
        ]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        (family,) = self.describe()
        for (topic, partition), records in sorted(self.source().items()):
            family.add_metric([topic, str(partition)], records)
        yield family


LAG = LagByPartition()
REGISTRY.register(LAG)

BRIDGED = Counter("scad_bridge_messages", "MQTT messages that are in Kafka", ["kind"])
BRIDGE_CUT = Counter("scad_bridge_cut_messages", "Messages too large to be forwarded whole")
BRIDGE_HELD = Counter(
    "scad_bridge_rate_limited_messages",
    "Messages of flooding devices, not forwarded and not receipted: the devices still have them",
)
BRIDGE_FLOODING = Gauge(
    "scad_bridge_flooding_devices", "Devices of which messages were held within the last minute"
)
BRIDGE_IN_FLIGHT = Gauge("scad_bridge_in_flight", "MQTT messages that Kafka has not acknowledged yet")
BRIDGE_CONNECTED = Gauge("scad_bridge_mqtt_connected", "1 while the MQTT broker is connected")
RECEIPTS = Counter("scad_bridge_receipts", "Receipts published to devices")
RECEIPTS_WAITING = Gauge("scad_bridge_receipts_waiting", "Receipts that the MQTT broker has not acknowledged")
BRIDGE_CERTIFICATE = Gauge(
    "scad_bridge_certificate_expiry_timestamp_seconds",
    "Until when the MQTT broker's certificate is valid, as the bridge saw it; 0 without TLS",
)
