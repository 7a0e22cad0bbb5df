"""tansu, a small broker that speaks Kafka's protocol, for the demo. It is not Kafka: streams/kafka.py has
the remedies for its faults. It keeps everything in memory and forgets it when it ends."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from scad.services.admin import broker_ids
from scad.services.base import HOST, Service, free_port
from scad.services.kafka import listens
from scad.services.places import tansu_program


class Tansu(Service):
    name = "tansu"

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder)
        self.port = port or free_port()

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def version(self) -> str:
        said = subprocess.run([tansu_program(), "--version"], capture_output=True, text=True).stdout
        found = re.search(r"\d+(\.\d+)+", said)
        return found[0] if found else said.strip()

    def command(self) -> list[str]:
        address = f"tcp://{self.bootstrap}"
        options = ["--listener-url", address, "--advertised-listener-url", address]
        return [str(tansu_program()), "broker", *options, "--storage-engine", "memory://tansu/", "--silent"]

    def answers(self) -> bool:
        return listens(self.bootstrap) and bool(broker_ids(self.bootstrap))
