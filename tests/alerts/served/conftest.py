"""The feed over an empty ward (one patient a team, nobody ill) or a full one, each in a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from made_up_ward import NOW_MS, add_patient, enrol, fill
from feed_server import RunningFeed, running


@pytest.fixture
def feed(store_address: str, store: psycopg.Connection[Any]) -> Iterator[RunningFeed]:
    """Teams, accounts and patients p-caen and p-bayeux; no reading, no alert."""
    enrol(store, NOW_MS)
    add_patient(store, "p-caen", "caen", 1, "body-weight", NOW_MS)
    add_patient(store, "p-bayeux", "bayeux", 2, "body-weight", NOW_MS)
    with running(store_address, store) as found:
        yield found


@pytest.fixture
def ward(store_address: str, store: psycopg.Connection[Any]) -> Iterator[RunningFeed]:
    """Every story of the ward, up to NOW_MS."""
    fill(store)
    with running(store_address, store) as found:
        yield found
