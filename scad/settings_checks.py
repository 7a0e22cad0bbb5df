"""What single settings and their combinations must be, for `load_settings`: whichever process needs them, so that all
faults are known at the first start and not at the last one's."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scad.settings import Settings

NOT_OURS = frozenset({"SCAD_REQUIRE_SERVICES", "SCAD_SERVICES_DIR", "SCAD_SECRETS", "SCAD_TEST_COUNTS"})
"""Of the programs for developers and of deploy/make-secrets.sh: they may stand in the same environment."""
NEAR = 0.7  # share of a name that has to agree before another is proposed
LOG_LEVELS = ("debug", "info", "warning", "error")
ROLES = ("nurse", "physician", "administrator", "engineer", "auditor")
"""As alerts.feed.viewer.ROLES, which only the feed loads; a test holds them together."""
SECRET_CHARACTERS_MIN = 32
"""As alerts.escalation.webhook's."""
BOUNDS: Mapping[str, tuple[float, float]] = {
    "partitions": (1, 10_000),  # Kafka takes more, no sensible installation of this platform
    "replication": (1, 32_767),
    "feed_port": (0, 65_535),  # 0: whichever is free
    "metrics_port": (0, 65_535),
    "smtp_port": (1, 65_535),
    "tick_seconds": (0.01, 3_600.0),  # less is a busy loop; more than an hour late is no watching
}
"""Setting to its least and greatest value."""


def setting_faults(settings: Settings) -> list[str]:
    """Every fault of values that were read, with the variable's name; an empty list when there is none."""
    found = []
    for name, (least, most) in BOUNDS.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            found.append(f"SCAD_{name.upper()}={value}: has to be from {least:g} to {most:g}")
    if settings.log_level not in LOG_LEVELS:
        found.append(f"SCAD_LOG_LEVEL={settings.log_level!r}: is none of {', '.join(LOG_LEVELS)}")
    found += access_faults(settings) + mail_faults(settings) + webhook_faults(settings)
    return found + identity_faults(settings)


def access_faults(settings: Settings) -> list[str]:
    """Of second factors and the provider of accounts."""
    asked = {word.strip() for word in settings.second_factor.split(",") if word.strip()}
    unknown = ", ".join(sorted(asked - set(ROLES)))
    found = [f"SCAD_SECOND_FACTOR: {unknown} is none of {', '.join(ROLES)}"] if unknown else []
    return found + _provider(settings)


def _provider(settings: Settings) -> list[str]:
    if not settings.oidc_issuer:
        return []
    found = []
    if not settings.oidc_client_id:
        found.append("SCAD_OIDC_CLIENT_ID is missing: the name that the provider knows this feed by")
    if not settings.oidc_issuer.startswith(("https://", "http://")):
        found.append(f"SCAD_OIDC_ISSUER={settings.oidc_issuer!r} is no address")
    return found


def mail_faults(settings: Settings) -> list[str]:
    """Of the mail server."""
    found = []
    if settings.smtp_host and "@" not in settings.smtp_from:
        found.append("SCAD_SMTP_FROM: an address to send from is needed where SCAD_SMTP_HOST is set")
    if settings.smtp_host and settings.smtp_password and settings.smtp_security == "none":
        found.append("SCAD_SMTP_SECURITY=none would send SCAD_SMTP_PASSWORD for anybody to read")
    return found


def webhook_faults(settings: Settings) -> list[str]:
    """Of what webhooks are signed with."""
    if 0 < len(settings.webhook_secret) < SECRET_CHARACTERS_MIN:
        return [f"SCAD_WEBHOOK_SECRET is too short to sign with: {SECRET_CHARACTERS_MIN} characters at least"]
    return []


def identity_faults(settings: Settings) -> list[str]:
    """Of the keys that identities are sealed with. No fault tells a key."""
    if not settings.identity_keys:
        return []
    from alerts.identity.keys import KeyFileError, parse_master_key

    try:
        parse_master_key(settings.identity_keys)
    except KeyFileError as error:
        return [f"SCAD_IDENTITY_KEYS: {error}"]
    return []


def database_fault(address: str) -> list[str]:
    """Whether libpq could read an address of a database. The address itself, which has a password, is not told."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(address)
    except psycopg.Error:
        return ["SCAD_DATABASE: libpq cannot read it; as postgresql://USER:PASSWORD@HOST:PORT/NAME"]
    return []


def unknown_variables(environ: Mapping[str, str], fields: Iterable[str]) -> list[str]:
    """Variables that begin like settings and are none: a setting that is misspelt would not be in force."""
    known = [f"SCAD_{field.upper()}" for field in fields]
    allowed = {*known, *(f"{name}_FILE" for name in known), *NOT_OURS}
    found = []
    for name in sorted(name for name in environ if name.startswith("SCAD_") and name not in allowed):
        near = difflib.get_close_matches(name, sorted(allowed - NOT_OURS), 1, NEAR)
        hint = f"; {near[0]} is meant?" if near else "; docs/operation.md has the table"
        found.append(f"{name} is no setting{hint}")
    return found
