"""Quix Streams with its windows: hopping windows and built-in aggregations, one branch for each rule.

Documentation, "Windowing" and "Aggregations": `hopping_window(...).agg(...).current()` gives the present value of
each window that a reading belongs to. Mean and squares stand for the median, which the library has not.
"""

# mypy: ignore-errors
# (it runs in the peers' environment, whose packages are not in ours)

from __future__ import annotations

import os
import sys
from datetime import timedelta
from typing import Any

from quixstreams import Application
from quixstreams.dataframe.windows import Count, Mean, Min, Sum

from bench.peers.stopwatch import Stopwatch

DAY = timedelta(days=1)


def main() -> None:
    bootstrap, topic, folder, count = sys.argv[1:]
    app = Application(
        broker_address=bootstrap,
        consumer_group="bench-quix-windows",
        auto_offset_reset="earliest",
        state_dir=folder,
    )
    alerts = app.topic("bench.alerts.quix-windows", value_serializer="json")
    sdf = app.dataframe(app.topic(topic, value_deserializer="json"))
    watch = Stopwatch(int(count))

    weight = sdf[sdf["kind"] == "body-weight"].apply(lambda reading: {"kg": reading["values"]["weight"]})
    weight = (
        weight.hopping_window(3 * DAY, DAY, name="weight").agg(lowest=Min("kg"), mean=Mean("kg")).current()
    )
    weight = weight[weight.apply(lambda window: window["mean"] - window["lowest"] >= 2.0)]

    rate = sdf[sdf["kind"] == "heart-rate"].apply(_rate)
    rate = (
        rate.hopping_window(14 * DAY, DAY, name="rate")
        .agg(n=Count(), mean=Mean("rate"), squares=Mean("square"))
        .current()
    )
    rate = rate[rate.apply(_scattered)]

    glucose = sdf[sdf["kind"] == "glucose"].apply(
        lambda reading: {"low": int(reading["values"]["glucose"] < 54)}
    )
    glucose = (
        glucose.hopping_window(DAY, timedelta(hours=6), name="glucose")
        .agg(n=Count(), low=Sum("low"))
        .current()
    )
    glucose = glucose[
        glucose.apply(lambda window: window["n"] >= 200 and window["low"] / window["n"] >= 0.01)
    ]

    for raised in (weight, rate, glucose):
        raised.update(lambda _: watch.alert()).to_topic(alerts)
    sdf.update(lambda _: app.stop() if watch.lap() else None)  # the last branch: what is before it is done
    app.run()


def _rate(reading: dict[str, Any]) -> dict[str, float]:
    rate = reading["values"]["heart_rate"]
    return {"rate": rate, "square": rate * rate}


def _scattered(window: dict[str, Any]) -> bool:
    variance = window["squares"] - window["mean"] ** 2
    return bool(window["n"] >= 28 and variance > 10.0**2)


if __name__ == "__main__":
    main()
    os._exit(0)
