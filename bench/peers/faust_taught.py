"""Faust as its manual teaches: a Record, an agent over events, windowed tables.

User guide, "Agents" and "Tables and Windowing": one hopping table for each number, event time from the record's
timestamp, each event counted into all its windows (`table[key] += 1`, and `WindowSet.apply` for the minimum). A rule
looks at the oldest window that the event is in, the fullest: `table[key].delta(size - step)`. The sums from which
mean and scatter follow stand for the median, which a windowed table of numbers cannot hold.
"""

# mypy: ignore-errors
# (it runs in the peers' environment, whose packages are not in ours)

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
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


def windowed(
    name: str, size: timedelta, step: timedelta, default: Callable[[], float] = float
) -> faust.Table:
    table = app.Table(name, default=default, partitions=int(PARTITIONS))
    return table.hopping(size, step, expires=size).relative_to_stream()


WEIGHT, RATE, GLUCOSE = (3 * DAY, DAY), (14 * DAY, DAY), (DAY, timedelta(hours=6))
"""Size and step of the windows."""
WEIGHT_FULLEST, RATE_FULLEST, GLUCOSE_FULLEST = (size - step for size, step in (WEIGHT, RATE, GLUCOSE))
lowest = windowed("lowest", *WEIGHT, lambda: math.inf)
rate_n, rate_sum, rate_squares = (windowed(name, *RATE) for name in ("rate-n", "rate-sum", "rate-squares"))
glucose_n, glucose_low = (windowed(name, *GLUCOSE) for name in ("glucose-n", "glucose-low"))
standing = app.Table("standing", default=bool, partitions=int(PARTITIONS))
watch = Stopwatch(int(COUNT))


async def hold(reading: Reading, measure: float, limit: float) -> None:
    """Raise an alert when the measure reaches the limit and has been below before."""
    key = f"{reading.patient}/{reading.kind}"
    beyond = measure >= limit
    if beyond != standing[key]:
        standing[key] = beyond
        if beyond:
            watch.alert()
            alert = json.dumps([reading.patient, reading.kind, measure])
            await alerts.send(key=reading.patient, value=alert.encode())


async def weigh(reading: Reading) -> None:
    patient, weight = reading.patient, reading.values["weight"]
    before = lowest[patient].delta(WEIGHT_FULLEST)
    lowest[patient].apply(min, weight)
    await hold(reading, weight - before, 2.0)


async def count_heart(reading: Reading) -> None:
    patient, rate = reading.patient, reading.values["heart_rate"]
    n = rate_n[patient].delta(RATE_FULLEST)
    if n >= 28:
        mean = rate_sum[patient].delta(RATE_FULLEST) / n
        variance = rate_squares[patient].delta(RATE_FULLEST) / n - mean**2
        await hold(reading, (rate - mean) / max(variance, 9.0) ** 0.5, 3.0)
    rate_n[patient] += 1.0
    rate_sum[patient] += rate
    rate_squares[patient] += rate**2


async def sense_glucose(reading: Reading) -> None:
    patient = reading.patient
    glucose_n[patient] += 1.0
    glucose_low[patient] += float(reading.values["glucose"] < 54)
    n = glucose_n[patient].delta(GLUCOSE_FULLEST)
    if n >= 202:
        await hold(reading, 100 * glucose_low[patient].delta(GLUCOSE_FULLEST) / n, 1.0)


RULES = {"body-weight": weigh, "heart-rate": count_heart, "glucose": sense_glucose}


@app.agent(readings)
async def judge(stream: faust.Stream[Reading]) -> None:
    async for reading in stream:
        await RULES[reading.kind](reading)
        if watch.lap():
            watch.print()
            os._exit(0)


if __name__ == "__main__":
    app.main()
