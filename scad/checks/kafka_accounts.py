"""Kafka's accounts: each logs in, can do what its process must, and nothing else (streams/access.py has the lists).

The broker itself says what an account may do with each topic (KIP-430, Kafka 2.3); nothing is written, no group joined.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String
from msgspec.structs import replace

from scad.checks.finding import Finding, fault, fine
from scad.kafka_connections import connections_closed
from scad.settings import Settings
from scad.tls import kafka_security
from streams import kafka
from streams.access import ROLES, Operation, Role

PART = "kafka accounts"
REQUEST_MS = 20_000
CREATE, DELETE, ALTER, ALTER_CONFIGS = 5, 6, 7, 11  # of Kafka's protocol
NOT_AUTHORIZED = 29
NAMES: Mapping[int, str] = {
    int(Operation.READ): "read",
    int(Operation.WRITE): "write",
    int(Operation.DESCRIBE): "see",
    CREATE: "make",
    DELETE: "delete",
    ALTER: "alter",
    ALTER_CONFIGS: "configure",
}
REMEDY = "run `scad kafka prepare` as a superuser; docs/security.md has the lists"
TOO_MUCH = "take the line away with kafka-acls.sh --remove, or name only `broker` and `scad` in super.users"
EVERYTHING = "set the brokers' authorizer.class.name, and name only `broker` and `scad` in their super.users"


class _Answer(Response):  # type: ignore[misc]  # the library has no types
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        *(("error_code", Int16), ("partition", Int32), ("leader", Int32)),
                        ("leader_epoch", Int32),
                        *((name, Array(Int32)) for name in ("replicas", "isr", "offline_replicas")),
                    ),
                ),
                ("authorized", Int32),
            ),
        ),
        ("cluster_authorized", Int32),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _Rights(Request[_Question]):  # type: ignore[misc]
    """Metadata with what the asking account may do; the library's own goes up to version 5."""

    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class(self._names, False, True, True)


def operations(bits: int) -> frozenset[int]:
    """The operations of a bit field, of those that this check knows the names of."""
    return frozenset(each for each in NAMES if bits >> each & 1)


def wanted(role: Role) -> dict[str, frozenset[int]]:
    """What a role may do with each topic of the platform, and no more."""
    found = {}
    for spec in kafka.SPECS:
        may: set[int] = {Operation.DESCRIBE}
        may |= {Operation.READ} if spec.name in role.reads else set()
        may |= {Operation.WRITE} if spec.name in role.writes else set()
        found[spec.name] = frozenset(may)
    return found


def check_accounts(settings: Settings, folder: Path, roles: Mapping[str, Role] = ROLES) -> list[Finding]:
    """`folder`: of the accounts' passwords, `kafka_ACCOUNT_password` each; an account without a file is not in use."""
    found: list[Finding] = []
    used = {name: folder / f"kafka_{name}_password" for name in roles}
    used = {name: path for name, path in used.items() if path.exists()}
    if not used:
        names = ", ".join(f"kafka_{name}_password" for name in roles)
        return [fault(PART, f"{folder} has none of {names}", "name the folder of deploy/make-secrets.sh")]
    for name, path in used.items():
        try:
            own = replace(settings, kafka_user=name, kafka_password=path.read_text().strip())
        except OSError as error:
            found.append(
                fault(PART, f"{path}: {error.strerror}", "run the check as somebody who may read it")
            )
            continue
        found += asyncio.run(_check(own, name, roles))
    return found


async def _check(settings: Settings, name: str, roles: Mapping[str, Role]) -> list[Finding]:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka, request_timeout_ms=REQUEST_MS, **kafka_security(settings)
    )
    role = roles[name]
    try:
        await admin.start()
        answer = (await admin._send_request(_Rights([spec.name for spec in kafka.SPECS]))).to_object()
        may = {
            each["topic"]: frozenset()
            if each["error_code"] == NOT_AUTHORIZED
            else operations(each["authorized"])
            for each in answer["topics"]
        }
        if all(right == frozenset(NAMES) for right in may.values()):
            return [fault(PART, f"{name} may do everything", EVERYTHING)]
        cluster = operations(answer["cluster_authorized"]) - {Operation.DESCRIBE}
        groups = {group for each in roles.values() for group in each.groups if await _may_join(admin, group)}
        return compare(name, role, may, cluster, groups)
    except KafkaError as error:
        remedy = f"is kafka_{name}_password what the broker has? Is {settings.kafka} up?"
        return [fault(PART, f"{name} cannot log in ({type(error).__name__}: {error})", remedy)]
    finally:
        await admin.close()
        await connections_closed()


async def _may_join(admin: AIOKafkaAdminClient, group: str) -> bool:
    """Whether the account sees a group, which who may read in it does. Rights are asked before anything else."""
    try:
        await admin.find_coordinator(group)
    except GroupAuthorizationFailedError:
        return False
    except KafkaError:  # no group was ever formed on this broker
        return True
    return True


def compare(
    name: str,
    role: Role,
    may: Mapping[str, frozenset[int]],
    cluster: Iterable[int],
    groups: Iterable[str],
) -> list[Finding]:
    """What an account lacks and what it has too much of. `may`: by topic; `groups`: those that it may be in."""
    lacks, beyond = [], []
    for topic, right in wanted(role).items():
        has = may.get(topic, frozenset())
        lacks += [f"{NAMES[each]} {topic}" for each in sorted(right - has)]
        beyond += [f"{NAMES[each]} {topic}" for each in sorted(has - right)]
    beyond += [f"{NAMES[each]} in the whole cluster" for each in sorted(cluster)]
    lacks += [f"join {group}" for group in sorted(set(role.groups) - set(groups))]
    beyond += [f"join {group}" for group in sorted(set(groups) - set(role.groups))]
    found = []
    if lacks:
        found.append(fault(PART, f"{name} cannot {', '.join(lacks)}, which its process must", REMEDY))
    if beyond:
        found.append(fault(PART, f"{name} can {', '.join(beyond)}, which its process must not", TOO_MUCH))
    return found or [fine(PART, f"{name} can do what its process must, and nothing else")]
