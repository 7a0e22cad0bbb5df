"""Quix Streams with its stateful `filter`/`apply`: a state for each key, kept in RocksDB and a changelog topic.

Documentation, "Stateful Applications": `sdf.apply(function, stateful=True)`. Values in a state are JSON unless they
are bytes (`state.get_bytes`, `state.set_bytes`): a rule's state is packed, a quarter of what it is in JSON.
"""

# mypy: ignore-errors
# (it runs in the peers' environment, whose packages are not in ours)

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application, State

from bench.peers.rules import RULES, VALUE, judge
from bench.peers.stopwatch import Stopwatch


def main() -> None:
    bootstrap, topic, folder, count = sys.argv[1:]
    app = Application(
        broker_address=bootstrap,
        consumer_group="bench-quix-state",
        auto_offset_reset="earliest",
        state_dir=folder,
    )
    alerts = app.topic("bench.alerts.quix-state", value_serializer="json")
    sdf = app.dataframe(app.topic(topic, value_deserializer="json"))
    watch = Stopwatch(int(count))

    def rules(reading: dict[str, Any], _key: Any, at_ms: int, _headers: Any, state: State) -> Any:
        kind = reading["kind"]
        kept = state.get_bytes(kind)
        rule = RULES[kind].unpack(kept) if kept else RULES[kind]()
        raised = judge(rule, at_ms, reading["values"][VALUE[kind]])
        state.set_bytes(kind, rule.pack())
        if watch.lap():
            app.stop()
        return None if raised is None else [reading["patient"], kind, raised]

    raised = sdf.apply(rules, stateful=True, metadata=True)
    raised = raised[raised.apply(lambda alert: alert is not None)]
    raised.update(lambda _: watch.alert()).to_topic(alerts)
    app.run()  # ends when the last checkpoint is committed
    watch.print()


if __name__ == "__main__":
    main()
