"""Bytewax with its Kafka operators and `stateful_map`, states in memory or, with `-r FOLDER`, in its recovery store.

Documentation, "Stateful operators" and "Kafka": `kop.input`, `op.stateful_map`, `kop.output`. The state is a Python
object; the library copies and pickles it for its recovery store. As taught, it is the windows in lists, as in its
example of an anomaly detector (rules_taught.py); for speed, the rules' objects (rules.py). Run as it says:
`python -m bytewax.run bench.peers.bytewax_state:taught` or `...:for_speed`. With `tail=False` the flow ends at the
end of the topic, when its last snapshot is written.
"""

# mypy: ignore-errors
# (it runs in the peers' environment, whose packages are not in ours)

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Callable
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow

from bench.peers import rules, rules_taught
from bench.peers.rules import VALUE, Rule
from bench.peers.stopwatch import Stopwatch

brokers = [os.environ["BOOTSTRAP"]]
watch = Stopwatch(int(os.environ["COUNT"]))
atexit.register(watch.print)
Value = tuple[str, int, float]
Parsed = tuple[str, Value]


def parse(message: KafkaSourceMessage[Any, Any]) -> Parsed:
    reading = json.loads(message.value)
    kind = reading["kind"]
    return reading["patient"], (kind, message.timestamp[1], reading["values"][VALUE[kind]])


def three_rules_taught(
    states: dict[str, rules_taught.State] | None, reading: Value
) -> tuple[dict[str, rules_taught.State], Any]:
    kind, at_ms, value = reading
    states = states or {}
    states[kind], raised = rules_taught.judge(states.get(kind), kind, at_ms, value)
    watch.lap()
    return states, None if raised is None else (kind, raised)


def three_rules_for_speed(mine: dict[str, Rule] | None, reading: Value) -> tuple[dict[str, Rule], Any]:
    kind, at_ms, value = reading
    if mine is None:
        mine = {kind: rule() for kind, rule in rules.RULES.items()}
    raised = rules.judge(mine[kind], at_ms, value)
    watch.lap()
    return mine, None if raised is None else (kind, raised)


def message(alert: tuple[str, Any]) -> KafkaSinkMessage[Any, Any]:
    watch.alert()
    return KafkaSinkMessage(alert[0].encode(), json.dumps(alert).encode())


def dataflow(three_rules: Callable[[Any, Value], tuple[Any, Any]]) -> Dataflow:
    flow = Dataflow("bench")
    source = kop.input(
        "readings", flow, brokers=brokers, topics=[os.environ["TOPIC"]], tail=False, batch_size=1_000
    )
    keyed = op.map("parse", source.oks, parse)
    judged = op.stateful_map("rules", keyed, three_rules)
    raised = op.filter_value("raised", judged, lambda alert: alert is not None)
    kop.output("alerts", op.map("message", raised, message), brokers=brokers, topic="bench.alerts.bytewax")
    return flow


def taught() -> Dataflow:
    return dataflow(three_rules_taught)


def for_speed() -> Dataflow:
    return dataflow(three_rules_for_speed)
