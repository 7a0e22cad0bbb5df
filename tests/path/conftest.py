from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deployment import Deployment

from scad.services import Kafka


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Makes deployments whose processes end with the test."""
    made: list[Deployment] = []

    def make(**settings: Any) -> Deployment:
        made.append(Deployment(tmp_path, **settings))
        return made[-1]

    yield make
    for deployment in made:
        deployment.end()


@pytest.fixture
def deployment(deploy: Callable[..., Deployment], fresh_kafka: Kafka) -> Deployment:
    """On the run's Kafka, with no topic left from another test."""
    return deploy(kafka=fresh_kafka.bootstrap)
