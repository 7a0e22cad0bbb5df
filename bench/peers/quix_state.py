"""Quix Streams with its stateful `filter`/`apply`: a state for each key, kept in RocksDB and a changelog topic.

Documentation, "Stateful Applications" (docs/advanced/stateful-processing.md of its repository):
`sdf.apply(function, stateful=True)`, `state.get`, `state.set`; values in a state are JSON. As taught, a rule's window
is such a value (rules_taught.py). For speed, a rule is packed (rules.py, `state.get_bytes`, `state.set_bytes`: the
same page, "Serialization"), a quarter of what it is in JSON.
"""

# mypy: ignore-errors
# (it runs in the peers' environment, whose packages are not in ours)

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application, State

from bench.peers import rules, rules_taught
from bench.peers.rules import VALUE
from bench.peers.stopwatch import Stopwatch


def taught(state: State, kind: str, at_ms: int, value: float) -> float | None:
    kept, raised = rules_taught.judge(state.get(kind), kind, at_ms, value)
    state.set(kind, kept)
    return raised


def for_speed(state: State, kind: str, at_ms: int, value: float) -> float | None:
    kept = state.get_bytes(kind)
    rule = rules.RULES[kind].unpack(kept) if kept else rules.RULES[kind]()
    raised = rules.judge(rule, at_ms, value)
    state.set_bytes(kind, rule.pack())
    return raised


def main() -> None:
    bootstrap, topic, folder, count, way = sys.argv[1:]
    judge = {"taught": taught, "for_speed": for_speed}[way]
    app = Application(
        broker_address=bootstrap,
        consumer_group=f"bench-quix-{way}",
        auto_offset_reset="earliest",
        state_dir=folder,
    )
    alerts = app.topic("bench.alerts.quix-state", value_serializer="json")
    sdf = app.dataframe(app.topic(topic, value_deserializer="json"))
    watch = Stopwatch(int(count))

    def three_rules(reading: dict[str, Any], _key: Any, at_ms: int, _headers: Any, state: State) -> Any:
        kind = reading["kind"]
        raised = judge(state, kind, at_ms, reading["values"][VALUE[kind]])
        if watch.lap():
            app.stop()
        return None if raised is None else [reading["patient"], kind, raised]

    raised = sdf.apply(three_rules, stateful=True, metadata=True)
    raised = raised[raised.apply(lambda alert: alert is not None)]
    raised.update(lambda _: watch.alert()).to_topic(alerts)
    app.run()  # ends when the last checkpoint is committed
    watch.print()


if __name__ == "__main__":
    main()
