"""What the worker and the bridge count. Labels are bounded: outcomes, reasons, rules and states, never a
device or a patient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

LATENESS_SECONDS = (1, 5, 30, 120, 600, 3_600, 6 * 3_600, 86_400, 7 * 86_400, 14 * 86_400, 35 * 86_400)
"""From live to the horizon of 35 days."""
STAGE_BOUNDS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600, 6 * 3_600, 86_400)
"""From a quiet machine to a day's backlog."""
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Where a container with cgroup v2 reads its own limit; a number, or `max`."""
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
STAGE_SECONDS = Histogram(
    "scad_stage_seconds",
    "Since the bridge received it, of the first reading of each batch that a stage has done",
    ["stage"],
    buckets=STAGE_BOUNDS_SECONDS,
)
PATIENTS = Gauge("scad_worker_patients", "Patients whose state this worker holds")
ROUNDS = Counter("scad_worker_takeovers", "Times that partitions were taken over")
RECOVERY = Gauge(
    "scad_worker_recovery_seconds",
    "How long the last takeover was: from the last batch before it, or the start, until batches are worked on again",
)
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


class MemoryLimit(Collector):
    """What the container may use, for comparison with process_resident_memory_bytes; says nothing without a limit."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def describe(self) -> list[GaugeMetricFamily]:
        return [
            GaugeMetricFamily(
                "scad_process_memory_limit_bytes", "Memory beyond which this process's container is killed"
            )
        ]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        (family,) = self.describe()
        with suppress(OSError, ValueError):  # not in a container, or `max`: no limit
            family.add_metric([], int(self.path.read_text()))
        yield family


REGISTRY.register(MemoryLimit(MEMORY_LIMIT))

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
