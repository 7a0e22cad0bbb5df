"""`scad escalation` and `scad service-times` as processes and commands, and what docs/escalation.md promises."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import prometheus_client
import psycopg
import pytest
from escalating import Ward, paris
from test_channels import SECRET, Receiver, message
from test_store_commands import scad

from alerts import service_times
from alerts.escalation.process import Escalation
from alerts.escalation.webhook import Webhook
from alerts.feed.accounts import create_account
from alerts.service_times import DEFAULTS, ServiceTimes, load_teams, read_service_times
from alerts.store.connection import Connection
from scad.clock import Clock
from scad.services import Postgres
from scad.settings import Settings

GUIDE = (Path(service_times.__file__).parents[1] / "docs/escalation.md").read_text()
DEADLINE_SECONDS = 20.0


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


# ── the process ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_process_waits_for_its_database_and_then_works(
    postgres: Postgres, schema_template: str, store: Connection
):
    address = postgres.dsn_of("scad_later")
    settings = Settings(database=address, tick_seconds=0.05)
    process = Escalation(settings, Clock(), time.monotonic)
    assert process.ready() == "the first round is not done yet"

    async def life() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(process.run(stop))
        deadline = time.monotonic() + DEADLINE_SECONDS
        while "the database" not in process.ready():
            assert time.monotonic() < deadline, process.ready()
            await asyncio.sleep(0.01)
        await asyncio.to_thread(postgres.create_database, "scad_later", schema_template)
        while process.ready():
            assert time.monotonic() < deadline, process.ready()
            await asyncio.sleep(0.01)
        stop.set()
        await running

    try:
        asyncio.run(life())
    finally:
        postgres.drop_database(address)


def test_a_process_whose_rounds_have_stopped_is_not_ready(store_address: str):
    now = [0.0]
    process = Escalation(Settings(database=store_address, tick_seconds=0.01), Clock(), lambda: now[0])

    async def one_round() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(process.run(stop))
        deadline = time.monotonic() + DEADLINE_SECONDS
        while process.ready():
            assert time.monotonic() < deadline, process.ready()
            await asyncio.sleep(0.01)
        stop.set()
        await running

    asyncio.run(one_round())
    now[0] += 61.0
    assert process.ready() == "no round for 61 s: it hangs"


def test_one_round_by_hand_prints_what_it_did(store: Connection, store_address: str):
    Ward(store, store_address)
    status, out, _ = scad("escalation", "--once", SCAD_DATABASE=store_address)
    assert status == 0
    done = json.loads(out.splitlines()[-1])
    assert (done["escalated"], done["led"], done["notifications"]) == (0, True, {})


def test_a_database_that_is_away_and_settings_that_cannot_be_are_one_line_each():
    status, _, error = scad("escalation", "--once", SCAD_DATABASE="postgresql://127.0.0.1:1/scad")
    assert status == 1
    assert "cannot be used (SCAD_DATABASE)" in error
    status, _, error = scad("escalation", SCAD_SMTP_HOST="mail")
    assert status == 2
    assert "SCAD_SMTP_FROM" in error


# ── settings by command ───────────────────────────────────────────────────────────────────────────────────


def test_the_example_of_the_guide_is_set_and_shown(store: Connection, store_address: str, tmp_path: Path):
    Ward(store, store_address)
    (example,) = blocks("toml")
    file = tmp_path / "caen.toml"
    file.write_text(example)
    assert scad("service-times", "set", str(file), SCAD_DATABASE=store_address)[:2] == (
        0,
        "caen: version 2\n",
    )
    shown = json.loads(scad("service-times", "show", "caen", SCAD_DATABASE=store_address)[1])
    assert msgspec.convert(shown, ServiceTimes) == load_teams(store)["caen"].times
    assert shown["hours"]["monday"] == ["09:00-17:00"]
    assert [step["after"] for step in shown["steps"]] == [0, 30]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[care_teams.nowhere]\n", "nowhere: no such care team"),
        ("[care_teams.caen.due]\nhigh = -1\n", "care_teams.caen: "),
        ("[teams.caen]\n", "one table, care_teams"),
        ("=", "settings.toml"),
    ],
)
def test_a_file_that_cannot_be_used_changes_nothing(
    store: Connection, store_address: str, tmp_path: Path, text: str, says: str
):
    Ward(store, store_address)
    file = tmp_path / "settings.toml"
    file.write_text(text)
    status, out, error = scad("service-times", "set", str(file), SCAD_DATABASE=store_address)
    assert (status, out) == (1, "")
    assert says in error
    assert store.execute("select max(version) from scad.service_times").fetchone() == (1,)
    assert scad("service-times", "show", "nowhere", SCAD_DATABASE=store_address)[0] == 1


def test_a_file_may_be_json(tmp_path: Path):
    file = tmp_path / "teams.json"
    file.write_text('{"care_teams": {"caen": {"due": {"high": 20}}}}')
    assert read_service_times(file)["caen"].due.high == 20


# ── who sees what ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_feed_reads_a_teams_hours_and_neither_sets_them_nor_sees_who_was_told(
    store: Connection, store_address: str
):
    ward = Ward(store, store_address)
    ward.signal("10:00")
    ward.round("10:30")
    create_account(store, "anne", "a long pass phrase", "nurse", "caen", at=paris("09:00"))
    store.execute(
        "insert into scad.session (token_hash, login, csrf_token, created_at, last_seen_at, expires_at)"
        " values (%s, 'anne', 'x', now(), now(), now() + interval '1 hour')",
        (b"\x07" * 32,),
    )
    with psycopg.connect(store_address, autocommit=True) as conn:
        conn.execute("set role scad_feed")
        conn.execute("select set_config('scad.session', %s, false)", (b"\x07".hex() * 32,))
        assert list(load_teams(conn)) == ["caen"]
        assert load_teams(conn)["caen"].times != DEFAULTS
        for table in ("notification", "notification_alert", "notification_attempt"):
            assert conn.execute(f"select count(*) from scad.{table}").fetchone() == (0,)
        refused = psycopg.errors.InsufficientPrivilege
        with pytest.raises(refused):
            conn.execute("insert into scad.service_times values ('caen', 9, '{}', now(), 'x')")
        with pytest.raises(refused):
            conn.execute("update scad.notification set state = 'sent'")


# ── the guide ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_verification_of_the_guide_takes_ours_once_and_nobody_elses():
    (code,) = blocks("python")
    guide: dict[str, Any] = {}
    exec(compile(code, "docs/escalation.md", "exec"), guide)  # noqa: S102
    verify = guide["verify"]
    receiver = Receiver()
    try:
        at = paris("10:30")
        asyncio.run(Webhook(SECRET).send(message(receiver.url, "webhook"), at))
    finally:
        receiver.stop()
    ((headers, body),) = receiver.requests
    now = at.timestamp() + 5
    with pytest.raises(ValueError, match="signature"):
        verify(b"x" * 32, headers, body, now)
    with pytest.raises(ValueError, match="signature"):
        verify(SECRET.encode(), headers, body.replace(b'"alerts":3', b'"alerts":0'), now)
    with pytest.raises(ValueError, match="signature"):
        verify(SECRET.encode(), {**headers, "X-SCAD-Timestamp": str(int(now) + 1)}, body, now)
    with pytest.raises(ValueError, match="too old"):
        verify(SECRET.encode(), headers, body, now + 301)
    taken = verify(SECRET.encode(), headers, body, now)
    assert taken["alerts"] == 3
    assert verify(SECRET.encode(), headers, body, now) is None


def test_the_guide_names_the_defaults_that_hold():
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", GUIDE, re.MULTILINE))
    due = {name: f"{getattr(DEFAULTS.due, name):,}" for name in ("high", "medium", "low", "technical")}
    for name, minutes in due.items():
        assert rows[f"{name}, due after"].startswith(f"{minutes} working minutes")
    assert [step.after for step in DEFAULTS.steps] == [0, 30]
    assert DEFAULTS.digest.at in rows["digest"]


def test_every_metric_of_the_guide_exists():
    known = set()
    for metric in prometheus_client.REGISTRY.collect():
        known |= {metric.name, f"{metric.name}_total"}
    named = set(re.findall(r"`(scad_(?:notifications|escalation_)\w*)", GUIDE))
    assert len(named) >= 9
    assert named <= known
