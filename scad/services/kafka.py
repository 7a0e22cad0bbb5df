"""Apache Kafka in KRaft mode, one node or a cluster, on 127.0.0.1; tests only."""

from __future__ import annotations

import base64
import re
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from scad.services.admin import broker_ids, delete_topics
from scad.services.base import HOST, Service, free_port, guarded
from scad.services.places import ServiceError, java_program, kafka_libraries

HEAP_MB = 320
"""Enough for the tests' traffic; three nodes fit beside everything else on a small machine."""
FORMAT_SECONDS = 60
REPLICAS_MAX = 3

JVM = (
    *("-server", f"-Xmx{HEAP_MB}m", "-Xms64m"),
    *("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),  # starts in half the time; throughput is not the aim
    "-Djava.awt.headless=true",
)
LOG4J = """\
Configuration:
  Appenders:
    Console:
      name: STDOUT
      PatternLayout:
        pattern: "[%d] %p %m (%c)%n"
  Loggers:
    Root:
      level: WARN
      AppenderRef:
        ref: STDOUT
    Logger:
      - name: org.apache.kafka.common.network.Selector  # says whom it refused
        level: INFO
      - name: kafka.authorizer.logger  # and whom it refused what
        level: INFO
"""


@dataclass(frozen=True)
class SecureListener:
    """A further listener, by TLS and with accounts (SCRAM-SHA-512 and PLAIN).

    `keystore`: PEM file with the server's key (PKCS #8) and certificate; `accounts`: user to password.
    """

    port: int
    keystore: Path
    accounts: Mapping[str, str]

    def settings(self) -> dict[str, object]:
        """Lines of server.properties."""
        users = " ".join(f'user_{user}="{password}"' for user, password in self.accounts.items())
        package, name = "org.apache.kafka.common.security", "listener.name.secure"
        return {
            f"{name}.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            f"{name}.plain.sasl.jaas.config": f"{package}.plain.PlainLoginModule required {users};",
            f"{name}.scram-sha-512.sasl.jaas.config": f"{package}.scram.ScramLoginModule required;",
            f"{name}.ssl.keystore.type": "PEM",
            f"{name}.ssl.keystore.location": self.keystore,
        }

    def scram(self) -> list[str]:
        """Arguments of the storage tool's `format`: SCRAM accounts are data of the cluster."""
        pairs = (f"SCRAM-SHA-512=[name={user},password={word}]" for user, word in self.accounts.items())
        return [word for pair in pairs for word in ("--add-scram", pair)]


def node_config(
    node: int,
    ports: list[tuple[int, int]],
    data: Path,
    clients: tuple[int, int] | None = None,
    secure: SecureListener | None = None,
) -> str:
    """server.properties of node `node` (from 1); `ports`: each node's broker and controller port.

    `clients`: a further listener's port, and the port by which clients are told to reach it: what stands
    between them can be cut without cutting the nodes off from each other.
    """
    nodes = len(ports)
    replicas = min(nodes, REPLICAS_MAX)
    in_sync = max(1, replicas - 1)
    broker, controller = ports[node - 1]
    voters = ",".join(f"{n}@{HOST}:{c}" for n, (_, c) in enumerate(ports, start=1))
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listeners": f"PLAINTEXT://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{broker}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": 8,  # 50 by default: making them costs seconds on a small machine
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": 0,  # 3 s by default, for members of a large group to gather
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,  # 128 MiB by default: a third of this heap
        "log.cleaner.threads": 1,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "broker.heartbeat.interval.ms": 500,
        "broker.session.timeout.ms": 3_000,  # after kill -9 a node may register again when this is over
    }
    more: list[tuple[str, int, str, str]] = []
    if clients is not None:
        port, told = clients
        more.append(("CLIENTS", port, f"{HOST}:{told}", "PLAINTEXT"))
    if secure is not None:
        more.append(
            ("SECURE", secure.port, f"localhost:{secure.port}", "SASL_SSL")
        )  # as its certificate says
        settings |= secure.settings()
    for name, port, address, protocol in more:
        settings["listeners"] = f"{settings['listeners']},{name}://{HOST}:{port}"
        settings["advertised.listeners"] = f"{settings['advertised.listeners']},{name}://{address}"
        settings["listener.security.protocol.map"] = (
            f"{settings['listener.security.protocol.map']},{name}:{protocol}"
        )
    return "".join(f"{name}={value}\n" for name, value in settings.items())


class KafkaNode(Service):
    """One node; it is made by `Kafka` and can be killed, paused and started apart from the others."""

    name = "kafka"
    ready_seconds = 90.0

    def __init__(self, folder: Path, node: int, ports: list[tuple[int, int]], cluster: str) -> None:
        super().__init__(folder)
        self.node = node
        self.ports = ports
        self.cluster = cluster
        self.jvm: tuple[str, ...] = ()
        """Further options of the Java machine."""
        self.clients: tuple[int, int] | None = None
        """Set before the start: a listener for clients and the port they are told (`node_config`)."""
        self.secure: SecureListener | None = None
        """Set before the first start: a listener by TLS, with accounts."""

    @property
    def address(self) -> str:
        return f"{HOST}:{self.ports[self.node - 1][0]}"

    @property
    def version(self) -> str:
        return kafka_version()

    def command(self) -> list[str]:
        return self._java("kafka.Kafka", str(self.folder / "server.properties"))

    def prepare(self) -> None:
        data = self.folder / "data"
        (self.folder / "log4j2.yaml").write_text(LOG4J)
        (self.folder / "server.properties").write_text(self.config(data))
        if (data / "meta.properties").is_file():
            return
        properties = str(self.folder / "server.properties")
        command = self._java("kafka.tools.StorageTool", "format", "-t", self.cluster, "-c", properties)
        if self.secure is not None:
            command += self.secure.scram()
        done = subprocess.run(guarded(command), capture_output=True, text=True, timeout=FORMAT_SECONDS)
        if done.returncode != 0:
            raise ServiceError(f"Kafka's storage cannot be formatted: {(done.stdout + done.stderr).strip()}")

    def config(self, data: Path) -> str:
        """server.properties."""
        return node_config(self.node, self.ports, data, self.clients, self.secure)

    def answers(self) -> bool:
        return listens(self.address) and self.node in broker_ids(self.address)

    def _java(self, program: str, *arguments: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.yaml'}"
        return [
            str(java_program()),
            *JVM,
            *self.jvm,
            log4j,
            "-cp",
            f"{kafka_libraries()}/*",
            program,
            *arguments,
        ]


class Kafka:
    """A cluster of `nodes` nodes, each broker and controller. Same calls as a Service, on all nodes."""

    name = "kafka"

    def __init__(self, folder: Path, nodes: int = 1) -> None:
        taken: list[int] = []
        for _ in range(2 * nodes):
            taken.append(free_port(taken))
        ports = list(zip(taken[::2], taken[1::2], strict=True))
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        cluster = self._cluster_id()
        self.nodes = [KafkaNode(self.folder / f"node-{n}", n, ports, cluster) for n in range(1, nodes + 1)]

    def _cluster_id(self) -> str:
        """Drawn once per folder: a node with another cluster's data refuses to start."""
        file = self.folder / "cluster-id"
        if not file.is_file():
            drawn = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            file.write_text("S" + drawn[1:])  # one that begins with a dash would be taken for an option
        return file.read_text()

    @property
    def bootstrap(self) -> str:
        """Bootstrap servers, comma separated."""
        return ",".join(node.address for node in self.nodes)

    @property
    def version(self) -> str:
        return kafka_version()

    @property
    def running(self) -> bool:
        return all(node.running for node in self.nodes)

    @property
    def log_path(self) -> Path:
        return self.nodes[0].log_path

    def start(self) -> Self:
        """Start all nodes at once (none answers before a majority is there). Raises ServiceError."""
        try:
            with ThreadPoolExecutor(len(self.nodes)) as pool:
                list(pool.map(KafkaNode.start, self.nodes))
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def wait_ready(self, seconds: float | None = None) -> None:
        for node in self.nodes:
            node.wait_ready(seconds)

    def answers(self) -> bool:
        return all(node.answers() for node in self.nodes)

    def delete_topics(self, topics: Iterable[str] | None = None) -> None:
        """Delete these topics (all, by default) with the offsets that groups committed on them."""
        delete_topics(self.bootstrap, topics)

    def stop(self) -> None:
        """Stop all at once: a node that leaves alone waits for a majority to take over."""
        self._all(KafkaNode.stop)

    def kill(self) -> None:
        self._all(KafkaNode.kill)

    def pause(self) -> None:
        self._all(KafkaNode.pause)

    def resume(self) -> None:
        self._all(KafkaNode.resume)

    def restart(self) -> Self:
        self.stop()
        return self.start()

    def _all(self, action: Callable[[KafkaNode], None]) -> None:
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(action, self.nodes))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def kafka_version() -> str:
    for jar in kafka_libraries().glob("kafka-clients-*.jar"):
        if found := re.search(r"kafka-clients-([\d.]+)\.jar", jar.name):
            return found[1]
    raise ServiceError(f"no kafka-clients jar in {kafka_libraries()}: delete the folder and run `make test`")


def listens(address: str) -> bool:
    """Whether anything accepts a connection at host:port; spares the admin client's noise until it does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
