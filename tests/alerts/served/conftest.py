"""The feed over an empty ward (one patient a team, nobody ill) or a full one, each in a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from argon2 import PasswordHasher
from feed_server import RunningFeed, running
from made_up_ward import NOW_MS, add_patient, enrol, fill

from alerts.feed import accounts
from scad.services import Postgres


@pytest.fixture(autouse=True, scope="session")
def quick_hashes() -> Iterator[None]:
    """Passwords hashed at a fraction of the cost: the tests log in some hundred times."""
    patch = pytest.MonkeyPatch()
    patch.setattr(accounts, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    yield
    patch.undo()


@pytest.fixture
def feed(store_address: str, store: psycopg.Connection[Any]) -> Iterator[RunningFeed]:
    """Teams, accounts and patients p-caen and p-bayeux; no reading, no alert."""
    enrol(store, NOW_MS)
    add_patient(store, "p-caen", "caen", 1, "body-weight", NOW_MS)
    add_patient(store, "p-bayeux", "bayeux", 2, "body-weight", NOW_MS)
    with running(store_address, store) as found:
        yield found


@pytest.fixture(scope="session")
def ward_template(postgres: Postgres, schema_template: str) -> str:
    """The full ward, evaluated once for the run."""
    address = postgres.create_database("scad_ward", template=schema_template)
    with psycopg.connect(address, autocommit=True) as conn:
        fill(conn)
    postgres.make_template("scad_ward")
    return "scad_ward"


@pytest.fixture
def ward(postgres: Postgres, ward_template: str) -> Iterator[RunningFeed]:
    """Every story of the ward, up to NOW_MS."""
    address = postgres.create_database(template=ward_template)
    with psycopg.connect(address, autocommit=True) as conn, running(address, conn) as found:
        yield found
    postgres.drop_database(address)
