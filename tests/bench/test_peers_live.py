"""Every contender of the benchmark on a few made-up patients: it ends, and it raises the alerts that it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.peers.__main__ import Race, installed
from bench.peers.contenders import BARE, PEERS, Contender
from scad.services import Kafka

PATIENTS, DAYS, SEED = 8, 16, 7
COARSE = ("Quix Streams, windows", "Faust as its manual teaches")
"""The others evaluate the plain rules."""


@pytest.fixture(scope="module")
def race(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> tuple[Race, dict[str, Any]]:
    """The readings in Kafka, and what the worker made of them."""
    race = Race(tmp_path_factory.mktemp("race"), kafka, SEED, PATIENTS, DAYS)
    return race, race.worker()


@pytest.mark.services
def test_the_bare_loop_raises_the_workers_alerts(race: tuple[Race, dict[str, Any]]) -> None:
    field, worker = race
    assert worker["alerts"] == field.expected() > 0
    assert field.contender(BARE, Path())["alerts"] == worker["alerts"]


@pytest.mark.services
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_raises_alerts(race: tuple[Race, dict[str, Any]], peer: Contender) -> None:
    python = installed()
    if python is None:
        pytest.skip("the peers' environment is made by `python -m bench.peers`")
    field, _ = race
    found = field.contender(peer, python)
    assert found["alerts"] > 0
    if peer.name not in COARSE:
        assert found["alerts"] == field.expected(peer)
