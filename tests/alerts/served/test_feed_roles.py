"""Every pair of a role and a route: what is refused. Routes come from the application itself, so that a new one
without a decision fails here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from caregivers import caregiver_of
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from feed_server import RunningFeed, csrf_of, running
from made_up_ward import NOW_MS, PASSWORD, add_patient, enrol

from alerts.feed.accounts import create_account
from alerts.feed.app import create_app
from alerts.feed.context import Permitted
from alerts.feed.roles import OPEN_ROUTES, PERMISSIONS, ROLES, Permission, allowed
from devices.times import to_datetime
from scad.services import Postgres

LOGINS = {
    "nurse": "infirmiere",
    "physician": "medecin",
    "administrator": "admin",
    "engineer": "ops",
    "auditor": "audit",
}
# Said a second time, by hand: what each role may do.
EXPECTED: dict[str, set[str]] = {
    "session": {"nurse", "physician", "administrator", "engineer", "auditor", "caregiver"},
    "see_patients": {"nurse", "physician", "auditor"},
    "act": {"nurse", "physician"},
    "bulk": {"nurse", "physician"},
    "absence": {"nurse", "physician"},
    "enrol": {"nurse", "physician"},
    "plan": {"nurse", "physician"},
    "manual_value": {"nurse", "physician"},
    "identity": {"nurse", "physician"},
    "erase": {"physician"},
    "confirm": {"physician"},
    "team": {"nurse", "physician", "administrator", "auditor"},
    "set_team": {"administrator"},
    "accounts": {"administrator"},
    "metrics": {"administrator", "engineer"},
    "quarantine": {"engineer"},
    "audit": {"auditor"},
    "care": {"caregiver"},
}
SOMETHING = "00000000-0000-4000-8000-000000000000"  # fits a patient, an alert and a device, and is none


def routes_below(routes: list[Any]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from routes_below(route.original_router.routes)


def permissions_of(dependant: Dependant) -> set[Permission]:
    found = {dependant.call.name} if isinstance(dependant.call, Permitted) else set()
    return found.union(*(permissions_of(below) for below in dependant.dependencies))


ROUTES = {
    (method, route.path): permissions_of(route.dependant)
    for route in routes_below(create_app("").routes)
    for method in sorted(route.methods)
}


@pytest.fixture(scope="module")
def clients(
    postgres: Postgres, schema_template: str, quick_hashes: None
) -> Iterator[dict[str, httpx.Client]]:
    address = postgres.create_database(template=schema_template)
    with psycopg.connect(address, autocommit=True) as conn:
        enrol(conn, NOW_MS)
        create_account(conn, "admin", PASSWORD, "administrator", None, at=to_datetime(NOW_MS))
        add_patient(conn, "p-caen", "caen", 1, "body-weight", NOW_MS)
        with running(address, conn) as feed:
            found = {role: log_in(feed, login) for role, login in LOGINS.items()}
            yield found | {"caregiver": with_token(caregiver_of(feed, found["nurse"]))}
    postgres.drop_database(address)


def log_in(feed: RunningFeed, login: str) -> httpx.Client:
    return with_token(feed.client(login))


def with_token(client: httpx.Client) -> httpx.Client:
    client.headers["X-CSRF-Token"] = csrf_of(client)
    return client


def status(client: httpx.Client, method: str, path: str) -> int:
    path = re.sub(r"\{[^}]+\}", SOMETHING, path)
    with client.stream(method, path, follow_redirects=False) as answer:  # an event stream has no end
        return answer.status_code


def test_every_route_asks_for_one_permission_or_says_why_for_none():
    decided = {route for route, permissions in ROUTES.items() if permissions}
    assert set(ROUTES) - decided == set(OPEN_ROUTES)
    assert {route: names for route, names in ROUTES.items() if len(names) > 1} == {}


def test_the_table_of_roles_says_what_was_meant():
    assert {name: {role for role in ROLES if allowed(role, name)} for name in PERMISSIONS} == EXPECTED


def test_the_documentations_table_is_the_codes():
    lines = (Path(__file__).parents[3] / "docs/access.md").read_text().splitlines()
    header = next(line for line in lines if line.startswith("| may |"))
    roles = [cell.strip() for cell in header.split("|")[2:-1]]
    told: dict[str, set[str]] = {}
    for line in lines[lines.index(header) + 2 :]:
        if not line.startswith("|"):
            break
        cells = line.split("|")[1:-1]
        who = {role for role, cell in zip(roles, cells[1:], strict=True) if "✓" in cell}
        told |= dict.fromkeys(re.findall(r"`(\w+)`", cells[0].rpartition("(")[2]), who)
    assert told == EXPECTED


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("method", "path"),
    # every person may log out, and the others would have no session any more
    [route for route in ROUTES if route not in OPEN_ROUTES and route != ("POST", "/logout")],
)
def test_a_role_is_refused_what_it_does_not_include(
    clients: dict[str, httpx.Client], role: str, method: str, path: str
):
    (needed,) = ROUTES[method, path]
    found = status(clients[role], method, path)
    if role in EXPECTED[needed]:
        assert found not in (401, 403)
        assert found < 500
    else:
        assert found == 403


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route not in OPEN_ROUTES])
def test_nobody_gets_in_without_a_session(clients: dict[str, httpx.Client], method: str, path: str):
    with httpx.Client(base_url=clients["nurse"].base_url) as nobody:
        assert status(nobody, method, path) in (401, 303)


@pytest.mark.parametrize(
    ("method", "path"),
    [route for route in ROUTES if route not in OPEN_ROUTES and route[0] not in ("GET", "HEAD")],
)
def test_no_write_is_taken_without_the_token_of_the_session(
    clients: dict[str, httpx.Client], method: str, path: str
):
    client = clients["nurse"]
    with httpx.Client(base_url=client.base_url, cookies=client.cookies) as tokenless:
        assert status(tokenless, method, path) == 403
        wrong = {"X-CSRF-Token": "x" * 43}
        answer = tokenless.request(method, re.sub(r"\{[^}]+\}", SOMETHING, path), headers=wrong)
        assert answer.status_code == 403
