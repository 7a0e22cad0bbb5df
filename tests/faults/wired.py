"""Kafka with wires: some clients have listeners of their own, and one broker reaches the others by wires only.

A broker tells a client where brokers are by the listener that the client came in by. So whoever has a listener of
its own, told as a wire's port, can be cut off from all of Kafka alone.
"""

from __future__ import annotations

from pathlib import Path

from wires import Wires

from scad.services import HOST, Kafka, free_port
from scad.services.kafka import KafkaNode

ALONE = 2
"""The broker that can be cut off from the other brokers while clients go on reaching it."""


class WiredNode(KafkaNode):
    """A node with further listeners. Everything is set before the first start."""

    def __init__(self, folder: Path, node: int, ports: list[tuple[int, int]], cluster: str) -> None:
        super().__init__(folder, node, ports, cluster)
        self.of_client: dict[str, tuple[int, int]] = {}
        """Listener's name: its port, and the port that this client is told."""
        self.told_brokers = ports[node - 1][0]
        """The port by which other brokers reach this one."""
        self.voters = {number: controller for number, (_, controller) in enumerate(ports, start=1)}
        """The ports by which this node reaches the controllers."""

    def config(self, data: Path) -> str:
        lines = super().config(data).splitlines()
        settings = dict(line.split("=", 1) for line in lines)
        own = f"PLAINTEXT://{HOST}:{self.ports[self.node - 1][0]}"
        settings["advertised.listeners"] = settings["advertised.listeners"].replace(
            own, f"PLAINTEXT://{HOST}:{self.told_brokers}"
        )
        settings["controller.quorum.voters"] = ",".join(f"{n}@{HOST}:{p}" for n, p in self.voters.items())
        for name, (port, told) in self.of_client.items():
            settings["listeners"] += f",{name}://{HOST}:{port}"
            settings["advertised.listeners"] += f",{name}://{HOST}:{told}"
            settings["listener.security.protocol.map"] += f",{name}:PLAINTEXT"
        return "".join(f"{name}={value}\n" for name, value in settings.items())


class WiredKafka(Kafka):
    """A cluster with wires to its clients; `bootstrap_of(client)` is what that client is told."""

    def __init__(self, folder: Path, nodes: int, wires: Wires, alone: tuple[str, ...]) -> None:
        """`alone`: clients that can be cut off from Kafka by themselves."""
        super().__init__(folder, nodes)
        self.wired = [WiredNode(node.folder, node.node, node.ports, node.cluster) for node in self.nodes]
        self.nodes = [*self.wired]
        self._told: dict[str, list[int]] = {"": []}
        for node in self.wired:
            clients = free_port()
            wire = wires.add(f"clients→kafka-{node.node}", clients)
            node.clients = (clients, wire.port)
            self._told[""].append(wire.port)
        for client in alone:
            listener = client.replace("-", "").upper()
            for node in self.wired:
                port = free_port()
                wire = wires.add(f"{client}→kafka", port)
                node.of_client[listener] = (port, wire.port)
                self._told.setdefault(client, []).append(wire.port)
        self._wire_broker(wires)

    def _wire_broker(self, wires: Wires) -> None:
        """Both ways between one broker and the others' controllers, and the way by which they copy from it."""
        name = f"brokers→kafka-{ALONE}"
        node = self.wired[ALONE - 1]
        broker, controller = node.ports[ALONE - 1]
        node.told_brokers = wires.add(name, broker).port
        inward = wires.add(name, controller).port
        for other in self.wired:
            if other is not node:
                other.voters[ALONE] = inward
                node.voters[other.node] = wires.add(name, other.ports[other.node - 1][1]).port

    def bootstrap_of(self, client: str) -> str:
        return ",".join(f"{HOST}:{port}" for port in self._told.get(client, self._told[""]))
