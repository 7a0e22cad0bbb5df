"""Who may do what: one table of roles and permissions, and the permission that each route asks for.

A route says what it needs by its dependency: `Annotated[Viewer, Depends(permission("act"))]`. With a method
that writes, the dependency also asks for the session's CSRF token, in the header `X-CSRF-Token` or in the form
field `csrf`. A route that asks for nothing is refused by the tests unless OPEN_ROUTES names it.
"""

from __future__ import annotations

from typing import Literal, get_args

from alerts.feed.viewer import Role, Viewer

Permission = Literal[
    "session",  # any logged-in person
    "see_patients",  # the queue, patients' pages, alerts and readings of the own care team
    "act",  # what becomes of an alert
    "bulk",  # the same action on many alerts
    "absence",  # hospital or holiday of a patient
    "enrol",  # patients, and devices attached and released
    "plan",  # set the protocols and limits that a nurse may set, propose the others
    "identity",  # who a patient is: corrected, two files merged and split, an objection to research
    "erase",  # the key of a patient's identity
    "confirm",  # limits and dates of INR tests that only a physician answers for
    "manual_value",  # a value heard on the telephone
    "team",  # read a team's settings: service times, hours, chain
    "set_team",  # change them
    "accounts",  # people, roles, teams
    "metrics",  # the process's own figures; they name no patient
    "quarantine",  # refused messages
    "audit",  # who did what
    "care",  # the one patient who has let this caregiver in
]
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)

_WARD: frozenset[Permission] = frozenset(
    {"session", "see_patients", "act", "bulk", "absence", "enrol", "identity", "plan", "manual_value", "team"}
)

ROLES: dict[Role, frozenset[Permission]] = {
    "nurse": _WARD,
    "physician": _WARD | {"confirm", "erase"},
    "administrator": frozenset({"session", "accounts", "metrics", "team", "set_team"}),
    "engineer": frozenset({"session", "metrics", "quarantine"}),
    "auditor": frozenset({"session", "see_patients", "audit", "team"}),
    "caregiver": frozenset({"session", "care"}),
}
"""Role to permissions. An administrator makes accounts and sees no patient: who hands out access has none."""

OPEN_ROUTES: dict[tuple[str, str], str] = {
    ("GET", "/login"): "the form of the log-in",
    ("POST", "/login"): "the log-in itself",
    ("GET", "/login/code"): "asks for the session of somebody who has passed the password",
    ("POST", "/login/code"): "asks for the session of somebody who has passed the password",
    ("GET", "/login/second-factor"): "asks for a session, also one that has passed the password only",
    ("POST", "/login/second-factor"): "asks for a session, also one that has passed the password only",
    ("GET", "/login/oidc"): "sends the browser to the provider",
    ("GET", "/login/oidc/return"): "the provider's answer, which the log-in checks",
    ("POST", "/preferences"): "language and appearance, two cookies that say nothing about anybody",
    ("GET", "/tablet"): "the patient's tablet; shows nothing without the tablet's own token",
    ("POST", "/tablet"): "the patient's tablet; asks for the tablet's own token",
    ("POST", "/tablet/link"): "takes a code that a nurse has given out, once",
    ("GET", "/caregiver/join"): "the form of an invitation",
    ("POST", "/caregiver/join"): "takes a caregiver's invitation, once",
    ("GET", "/health/live"): "asked by the machine that watches the process",
    ("GET", "/health/ready"): "asked by the machine that watches the process",
    ("GET", "/metrics"): "checks a scraper's name and password by itself (permission metrics)",
}
"""Routes without a permission of a session, and why."""


READING: frozenset[Permission] = frozenset({"session", "see_patients"})
"""All that is left of a role in front of a patient of another team, whom broken glass shows (alerts.audit.glass)."""


def allowed(role: Role, permission: Permission) -> bool:
    """Whether the role includes the permission."""
    return permission in ROLES[role]


def home_of(viewer: Viewer) -> str:
    """Where a person begins who has just logged in: the queue, or what else the role is for."""
    if allowed(viewer.role, "see_patients"):
        return "/"
    if allowed(viewer.role, "care"):
        return "/caregiver"
    return "/accounts" if allowed(viewer.role, "accounts") else "/docs"
