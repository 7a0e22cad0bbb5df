"""Faust as its manual teaches: a Record, an agent over events, windowed tables.

User guide, "Agents" and "Tables, windowing": one hopping table for each rule, event time from the record's
timestamp, each event counted into its windows. The sums from which mean and scatter follow stand for the median,
which a windowed table of numbers cannot hold.
"""

# mypy: ignore-errors
# (it runs in the peers' environment, whose packages are not in ours)

from __future__ import annotations

import json
import os
from datetime import timedelta

import faust

from bench.peers.stopwatch import Stopwatch

BOOTSTRAP, TOPIC, COUNT, PARTITIONS = (
    os.environ[name] for name in ("BOOTSTRAP", "TOPIC", "COUNT", "PARTITIONS")
)
DAY = timedelta(days=1)


class Reading(faust.Record, serializer="json"):
    patient: str
    kind: str
    values: dict[str, float]


app = faust.App(
    "bench-faust-taught",
    broker=f"kafka://{BOOTSTRAP}",
    topic_partitions=int(PARTITIONS),
    web_enabled=False,
    broker_max_poll_records=2_000,
)
readings = app.topic(TOPIC, value_type=Reading, key_type=bytes)
alerts = app.topic("bench.alerts.faust", value_type=bytes)


def windowed(name: str, size: timedelta, step: timedelta) -> faust.Table:
    table = app.Table(name, default=float, partitions=int(PARTITIONS))
    return table.hopping(size, step, expires=size).relative_to_stream()


lowest = windowed("lowest", 3 * DAY, DAY)
rate_n, rate_sum, rate_squares = (
    windowed(name, 14 * DAY, DAY) for name in ("rate-n", "rate-sum", "rate-squares")
)
glucose_n, glucose_low = (windowed(name, DAY, timedelta(hours=6)) for name in ("glucose-n", "glucose-low"))
watch = Stopwatch(int(COUNT))


async def raise_alert(reading: Reading, measure: float) -> None:
    watch.alert()
    await alerts.send(
        key=reading.patient, value=json.dumps([reading.patient, reading.kind, measure]).encode()
    )


@app.agent(readings)
async def judge(stream: faust.Stream[Reading]) -> None:
    async for reading in stream:
        patient, kind = reading.patient, reading.kind
        if kind == "body-weight":
            weight = reading.values["weight"]
            before = lowest[patient].current()
            lowest[patient] = min(before or weight, weight)
            if before and weight - before >= 2.0:
                await raise_alert(reading, weight - before)
        elif kind == "heart-rate":
            rate = reading.values["heart_rate"]
            n, total = rate_n[patient].current(), rate_sum[patient].current()
            if n >= 28:
                mean = total / n
                scatter = max((rate_squares[patient].current() / n - mean**2), 0.0) ** 0.5
                if abs(rate - mean) >= 3.0 * max(scatter, 3.0):
                    await raise_alert(reading, (rate - mean) / max(scatter, 3.0))
            rate_n[patient] += 1.0
            rate_sum[patient] += rate
            rate_squares[patient] += rate**2
        else:
            glucose_n[patient] += 1.0
            glucose_low[patient] += float(reading.values["glucose"] < 54)
            n = glucose_n[patient].current()
            if n >= 200 and glucose_low[patient].current() / n >= 0.01:
                await raise_alert(reading, 100 * glucose_low[patient].current() / n)
        if watch.lap():
            os._exit(0)


if __name__ == "__main__":
    app.main()
