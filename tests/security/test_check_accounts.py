"""`scad check --accounts` on the deployment's Kafka: which account lacks something, which has too much."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stronghold import Stronghold

from scad.checks import kafka_accounts
from scad.checks.finding import Finding
from scad.checks.kafka_accounts import CREATE, DELETE, NAMES, check_accounts, compare, operations, wanted
from scad.services import Kafka, wait_until
from scad.settings import Settings
from streams import kafka, topics
from streams.access import ROLES, Operation
from streams.kafka import ensure_topics

DEPLOYED = ("bridge", "worker", "enrol")
SECONDS = 30.0


def states(found: list[Finding]) -> list[str]:
    return [each.state for each in found]


def test_each_account_of_the_deployment_can_do_what_it_must_and_nothing_else(stronghold: Stronghold) -> None:
    def all_fine() -> bool:  # lists are in force a moment after they are written
        return states(check_accounts(stronghold.kafka.settings, stronghold.secrets)) == ["ok"] * len(DEPLOYED)

    wait_until(all_fine, SECONDS, "the access lists are in force")
    said = stronghold.scad("topics", "check", "--accounts", stronghold.secrets).stdout
    for account in DEPLOYED:
        assert f"{account} can do what its process must, and nothing else" in said


def test_what_an_account_lacks_and_has_too_much_of_is_named(stronghold: Stronghold) -> None:
    """The broker's lists are as deployed; the roles that they are compared with are not."""
    bridge, enrol = ROLES["bridge"], ROLES["enrol"]
    other = {
        **ROLES,
        "bridge": bridge._replace(writes=tuple(set(bridge.writes) - {topics.STATUS}), groups=()),
        "enrol": enrol._replace(reads=(topics.READINGS,), groups=("scad-writer",)),
    }
    found = check_accounts(stronghold.kafka.settings, stronghold.secrets, other | {"x": bridge})
    told = {each.what: each.remedy for each in found if each.state == "fault"}
    assert set(told) == {
        "bridge can write scad.status, join scad-receipts, which its process must not",
        "enrol cannot read scad.readings, join scad-writer, which its process must",
    }
    assert (
        "kafka-acls.sh --remove"
        in told["bridge can write scad.status, join scad-receipts, which its process must not"]
    )


def test_an_account_that_cannot_log_in_is_named(stronghold: Stronghold, tmp_path: Path) -> None:
    shutil.copy(stronghold.secrets / "kafka_enrol_password", tmp_path / "kafka_bridge_password")
    (only,) = check_accounts(stronghold.kafka.settings, tmp_path)
    assert (only.state, only.what.split(" (")[0]) == ("fault", "bridge cannot log in")
    assert "kafka_bridge_password" in only.remedy
    (none,) = check_accounts(stronghold.kafka.settings, tmp_path / "nowhere")
    assert "has none of kafka_bridge_password" in none.what


def test_a_broker_without_an_authorizer_is_found(
    fresh_kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_accounts, "kafka_security", lambda _: {})  # this broker has no accounts at all
    (tmp_path / "kafka_bridge_password").write_text("any")
    plain = Settings(kafka=fresh_kafka.bootstrap)
    asyncio.run(ensure_topics(plain))
    (only,) = check_accounts(plain, tmp_path)
    assert only.what == "bridge may do everything"
    assert "authorizer.class.name" in only.remedy


@settings(max_examples=30)
@given(st.sampled_from(sorted(ROLES)), st.data())
def test_one_right_more_or_less_is_one_fault(account: str, data: st.DataObject) -> None:
    role = ROLES[account]
    right = wanted(role)
    assert states(compare(account, role, right, (), role.groups)) == ["ok"]
    topic = data.draw(st.sampled_from([spec.name for spec in kafka.SPECS]))
    operation = data.draw(st.sampled_from(sorted(NAMES)))
    other = {**right, topic: right[topic] ^ {operation}}
    (found,) = compare(account, role, other, (), role.groups)
    assert found.state == "fault"
    assert f"{NAMES[operation]} {topic}" in found.what
    assert ("cannot" in found.what) is (operation in right[topic])
    (more,) = compare(account, role, right, (CREATE,), role.groups)
    assert "make in the whole cluster" in more.what


def test_a_bit_field_is_read_as_kafka_writes_it() -> None:
    assert operations(1 << 3 | 1 << 8 | 1 << 10) == {Operation.READ, Operation.DESCRIBE}
    assert operations(1 << 6) == {DELETE}
