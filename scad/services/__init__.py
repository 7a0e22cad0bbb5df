"""Local services for the demo, the tests and fault runs: fetched, started, broken, stopped; no Docker.

    from scad.services import Kafka, Mosquitto, Postgres, Tansu

    with Mosquitto(folder, accounts={"sc-1": "secret"}) as broker:
        ...

`python -m scad.services fetch --for demo` sets them up; see scad/services/fetch.py.
"""

from __future__ import annotations

from scad.services.base import HOST, Program, Service, free_port, wait_until
from scad.services.kafka import Kafka, KafkaNode, SecureListener
from scad.services.mosquitto import BRIDGE_USER, Mosquitto
from scad.services.places import (
    MissingServiceError,
    ServiceError,
    chromium_program,
    compose_program,
    promtool_program,
    services_dir,
)
from scad.services.postgres import Edition, Postgres
from scad.services.prometheus import Prometheus
from scad.services.tansu import Tansu

__all__ = [
    "BRIDGE_USER",
    "HOST",
    "Edition",
    "Kafka",
    "KafkaNode",
    "MissingServiceError",
    "Mosquitto",
    "Postgres",
    "Program",
    "Prometheus",
    "SecureListener",
    "Service",
    "ServiceError",
    "Tansu",
    "chromium_program",
    "compose_program",
    "free_port",
    "promtool_program",
    "services_dir",
    "wait_until",
]
