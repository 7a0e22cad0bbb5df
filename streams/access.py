"""Who may do what in Kafka: the access lists of the platform's accounts, and how they are put in force.

One account a process; `scad` (people and the step that prepares the broker) and the broker itself are its
superusers. What is not listed is refused. Pure, but for `grant`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest

from scad.kafka_connections import connections_closed
from scad.settings import Settings
from scad.tls import kafka_security
from streams import kafka, topics

log = structlog.get_logger()

ALLOW = 3  # of Kafka's protocol, as are the numbers below
ANY_HOST = "*"
OURS = "scad"
"""Every topic and group of the platform begins so."""


class Resource(IntEnum):
    TOPIC = 2
    GROUP = 3


class Pattern(IntEnum):
    LITERAL = 3
    PREFIXED = 4


class Operation(IntEnum):
    READ = 3
    WRITE = 4
    DESCRIBE = 8


class Right(NamedTuple):
    """One line of an access list."""

    resource: Resource
    pattern: Pattern
    name: str
    operation: Operation


class Role(NamedTuple):
    """What a process reads and writes, and the groups in which it reads."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def rights(self) -> list[Right]:
        """Whoever writes or reads something of ours may see which topics there are: no content."""
        lines = [Right(Resource.TOPIC, Pattern.PREFIXED, OURS, Operation.DESCRIBE)]
        lines += [Right(Resource.TOPIC, Pattern.LITERAL, name, Operation.READ) for name in self.reads]
        lines += [Right(Resource.TOPIC, Pattern.LITERAL, name, Operation.WRITE) for name in self.writes]
        lines += [Right(Resource.GROUP, Pattern.LITERAL, name, Operation.READ) for name in self.groups]
        return lines

    def __or__(self, other: object) -> Role:
        if not isinstance(other, Role):
            return NotImplemented
        return Role(*(tuple(dict.fromkeys(mine + its)) for mine, its in zip(self, other, strict=True)))


_CHANGELOGS = (kafka.PATIENTS_CHANGELOG, kafka.DEVICES_CHANGELOG)
_BRIDGE = Role(
    reads=(topics.RECEIPTS,),
    writes=(topics.TELEMETRY, topics.BACKLOG, topics.STATUS, topics.QUARANTINE),
    groups=("scad-receipts",),
)
_EVALUATION = Role(
    reads=(
        *(topics.TELEMETRY, topics.BACKLOG, topics.READINGS, topics.ASSIGNMENTS, topics.CARE_PLANS),
        *(topics.ALERTS, *_CHANGELOGS),  # its own signals: for a state that is made anew (streams/rebuild.py)
    ),
    writes=(topics.READINGS, topics.QUARANTINE, topics.RECEIPTS, topics.ALERTS, *_CHANGELOGS),
    groups=(kafka.WORKER_GROUP,),
)
_WRITER = Role(
    reads=(topics.READINGS, topics.ALERTS, topics.QUARANTINE, topics.STATUS),
    writes=(
        topics.ASSIGNMENTS,
        topics.CARE_PLANS,
        topics.TELEMETRY,
    ),  # the database's outbox: what the page saved
    groups=("scad-writer",),
)
ROLES: Mapping[str, Role] = {
    "bridge": _BRIDGE,
    "worker": _EVALUATION | _WRITER,
    "writer": _WRITER,
    "enrol": Role(writes=(topics.ASSIGNMENTS, topics.CARE_PLANS)),
}
"""By account. A worker runs the writer too, unless it is told not to. The feed and escalation speak to no Kafka."""


class _Lists(CreateAclsRequest):  # type: ignore[misc]  # the library has no types
    """All lines of an account in one request; the library's own holds one."""

    def __init__(self, account: str, rights: Sequence[Right]) -> None:
        self._lines = [
            (r.resource, r.name, r.pattern, f"User:{account}", ANY_HOST, r.operation, ALLOW) for r in rights
        ]

    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class.API_VERSION < 1:
            raise kafka.KafkaSetupError(
                "the broker's access lists know no prefixes: Kafka 2.0 or later is needed"
            )
        return request_struct_class(self._lines)


async def grant(settings: Settings, roles: Mapping[str, Role] = ROLES) -> int:
    """Put every access list in force; again, it changes nothing. Returns how many lines there are.

    The account must be a superuser's, and the broker have an authorizer. Raises KafkaError where it does not.
    """
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka,
        client_id="scad-access",
        request_timeout_ms=kafka.REQUEST_TIMEOUT_MS,
        **kafka_security(settings),
    )
    count = 0
    try:
        await admin.start()
        for account, role in roles.items():
            rights = role.rights()
            response = await admin._send_request(_Lists(account, rights))
            for (code, detail, *_), right in zip(response.creation_responses, rights, strict=True):
                if code:
                    raise for_code(code)(detail or f"{account}: {right}")
                count += 1
    finally:
        await admin.close()
        await connections_closed()
    log.info("kafka.access_granted", accounts=sorted(roles), lines=count)
    return count
