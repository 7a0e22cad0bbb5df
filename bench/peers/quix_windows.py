"""Quix Streams with its windows and its built-in aggregations, one branch for each rule.

Documentation, "Windowing" and "Aggregations": `sliding_window` for the weight, which comes once a day; `hopping_window`
for the others, where a reading is in as many windows as there are steps. `.current()` gives each window that a
reading has changed; a rule looks at the oldest of them, the fullest. Mean and squares stand for the median, which the
library has not.
"""

# mypy: ignore-errors
# (it runs in the peers' environment, whose packages are not in ours)

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

from quixstreams import Application, State
from quixstreams.dataframe import StreamingDataFrame
from quixstreams.dataframe.windows import Count, Latest, Max, Mean, Min, Sum

from bench.peers.stopwatch import Stopwatch

DAY, QUARTER = timedelta(days=1), timedelta(hours=6)
DAY_MS, QUARTER_MS = 86_400_000, 21_600_000


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
    weight = weight.sliding_window(3 * DAY, name="weight").agg(now=Latest("kg"), lowest=Min("kg")).current()
    weight["gain"] = weight["now"] - weight["lowest"]

    rate = sdf[sdf["kind"] == "heart-rate"].apply(_rate, metadata=True)
    rate = rate.hopping_window(14 * DAY, DAY, name="rate")
    rate = rate.agg(
        n=Count(), now=Latest("rate"), mean=Mean("rate"), squares=Mean("square"), at=Max("at")
    ).current()
    rate = rate[(rate["end"] - rate["at"] <= DAY_MS) & (rate["n"] >= 28)]  # the fullest
    rate["z"] = rate.apply(_z)

    glucose = sdf[sdf["kind"] == "glucose"].apply(_glucose, metadata=True)
    glucose = glucose.hopping_window(DAY, QUARTER, name="glucose")
    glucose = glucose.agg(n=Count(), low=Sum("low"), at=Max("at")).current()
    glucose = glucose[(glucose["end"] - glucose["at"] <= QUARTER_MS) & (glucose["n"] >= 202)]
    glucose["share"] = glucose["low"] / glucose["n"] * 100

    for measured, name, limit in ((weight, "gain", 2.0), (rate, "z", 3.0), (glucose, "share", 1.0)):
        raised = _begins(measured, name, limit)
        raised.update(lambda _: watch.alert()).to_topic(alerts)
    sdf.update(lambda _: app.stop() if watch.lap() else None)  # the last branch: what is before it is done
    app.run()  # ends when the last checkpoint is committed
    watch.print()


def _begins(measured: StreamingDataFrame, name: str, limit: float) -> StreamingDataFrame:
    """The windows whose measure has reached its limit and was below it before."""

    def begins(window: dict[str, Any], state: State) -> bool:
        beyond, before = window[name] >= limit, state.get(name, False)
        if beyond != before:
            state.set(name, beyond)
        return beyond and not before

    return measured.filter(begins, stateful=True)


def _rate(reading: dict[str, Any], _key: Any, at_ms: int, _headers: Any) -> dict[str, float]:
    rate = reading["values"]["heart_rate"]
    return {"rate": rate, "square": rate * rate, "at": at_ms}


def _glucose(reading: dict[str, Any], _key: Any, at_ms: int, _headers: Any) -> dict[str, int]:
    return {"low": int(reading["values"]["glucose"] < 54), "at": at_ms}


def _z(window: dict[str, Any]) -> float:
    scatter = (
        (window["squares"] - window["mean"] ** 2) ** 0.5 if window["squares"] > window["mean"] ** 2 else 0.0
    )
    return (window["now"] - window["mean"]) / max(scatter, 3.0)


if __name__ == "__main__":
    main()
