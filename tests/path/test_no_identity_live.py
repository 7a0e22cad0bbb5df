"""A run of the whole platform with identities: names, birth dates, INS and telephone are in the identity schema,
encrypted, and on pages that show them to who may see them. Nowhere else: not in a topic, a table, a log, a metric, an
error's page or an address."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_clients import Device
from whole_platform import DAY_MS, TEAM, Platform, device, patient, reading

from scad.services import Kafka, Mosquitto, Postgres
from scad.settings import Settings
from streams import kafka as streams_kafka

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

INS = "248057500100134"
WHO = {
    "family_name": "Quesnelière",
    "given_names": "Théodora",
    "birth_date": "1937-04-19",
    "sex": "female",
    "phone": "02 31 99 88 77",
    "birth_place": "14118",
    "ins": {"value": INS, "oid": "1.2.250.1.213.1.4.10"},
}
SECRETS = (
    "Quesnelière",
    "Quesneliere",
    "Théodora",
    "Theodora",
    "1937-04-19",
    "19/04/1937",
    INS,
    "31 99 88 77",
)


def forms(text: str) -> set[bytes]:
    """How a text might lie somewhere: as it is, in capitals, small, as JSON's or SQL's escapes, as hexadecimal,
    percent-encoded, and in base64 whatever stands before it."""
    found = set()
    for said in {text, text.upper(), text.lower(), text.casefold()}:
        plain = said.encode()
        found |= {plain, json.dumps(said)[1:-1].encode(), plain.hex().encode(), said.encode("latin-1")}
        found.add("".join(f"%{byte:02X}" if byte > 127 else chr(byte) for byte in plain).encode())
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + plain + b"\0\0")
            found.add(coded[-(-8 * shift // 6) : 8 * (shift + len(plain)) // 6])  # what no neighbour changes
    return {form for form in found if len(form) >= 8}


NEEDLES = re.compile(b"|".join(sorted(map(re.escape, set().union(*map(forms, SECRETS))))))


def names_in(data: bytes) -> list[bytes]:
    return NEEDLES.findall(data)


@pytest.fixture(scope="module")
def platform(
    services_folder: Path, kafka: Kafka, postgres: Postgres, mosquitto: Mosquitto
) -> Iterator[Platform]:
    running = Platform(services_folder / "identities", kafka, postgres)
    try:
        yield running.start()
    finally:
        running.stop()


async def everything_in_kafka(bootstrap: str) -> dict[str, list[bytes]]:
    """Every record of every topic, changelogs included: keys, values, headers."""
    settings = Settings(kafka=bootstrap)
    consumer = streams_kafka.make_consumer(settings, client_id="reader")
    await streams_kafka.started(consumer, settings)
    try:
        topics = sorted(name for name in await consumer.topics() if not name.startswith("__"))
        consumer.subscribe(topics)
        found: dict[str, list[bytes]] = {name: [] for name in topics}
        while not consumer.assignment():
            await consumer.getmany(timeout_ms=50)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(part) < end for part, end in ends.items()]):
            for part, records in (await consumer.getmany(timeout_ms=200)).items():
                found[part.topic] += [
                    b"\n".join([record.key or b"", record.value or b"", repr(record.headers).encode()])
                    for record in records
                ]
        return found
    finally:
        await consumer.stop()


def tables(platform: Platform) -> list[str]:
    found = platform.rows(
        "select format('%%I.%%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'p', 'm') and n.nspname !~ '^(pg_|information_schema)'"
        "   and has_table_privilege(c.oid, 'select')"
    )
    return [name for (name,) in found]


def test_no_identity_is_anywhere_but_where_it_belongs(platform: Platform, kafka: Kafka) -> None:
    now_ms = platform.now_ms()
    begin_ms = now_ms - 5 * DAY_MS
    who: dict[str, Any] = {
        **patient("p-hidden", [device("sc-hidden", begin_ms)], ["heart-failure"], begin_ms), "identity": WHO
    }  # fmt: skip
    platform.enrol(who)
    with Device(platform, "sc-hidden") as scale:
        weights = (80.0, 80.1, 83.4, 500.0)
        readings = [
            reading("sc-hidden", n, "body-weight", begin_ms + n * DAY_MS, weight=weight)
            for n, weight in enumerate(weights, start=1)
        ]
        scale.send(*readings).until_receipt(4)
    client = platform.feed_login()
    platform.until(
        lambda: platform.count("select count(*) from scad.alert where patient = 'p-hidden'"), "an alert"
    )
    # it is there for who may see it …
    page = client.get("/patients/p-hidden")
    assert "Théodora Quesnelière" in page.text
    assert client.get("/fhir/Patient/p-hidden").json()["name"][0]["family"] == "Quesnelière"
    (alert,) = platform.rows("select alert::text from scad.alert where patient = 'p-hidden' limit 1")[0]
    assert client.post(f"/api/alerts/{alert}/acknowledge", json={}).status_code == 200
    again = {
        "csrf": client.headers["X-CSRF-Token"],
        "birth_date": "1937-04-19",
        "sex": "female",
        "ins": INS,
        "family_name": "Quesneliere",
        "given_names": "Theodora",
        "ins_oid": WHO["ins"]["oid"],
    }  # type: ignore[index]
    assert client.post("/enrol", data=again).status_code == 422  # known already
    assert client.get("/patients/Quesneliere").status_code == 404
    # … and nowhere else
    answers = [client.get(path) for path in (
        "/metrics", "/api/nothing", "/patients/Quesneliere", "/fhir/Patient/Quesneliere", "/health/ready",
        "/api/patients/Theodora", "/fhir/Patient?family=Quesneliere",
    )]  # fmt: skip
    asked = re.compile(rb"Quesneliere|Theodora")  # what was asked for may be said to who asked
    for answer in answers:
        assert names_in(asked.sub(b"", answer.content)) == [], answer.url
    addresses = set(re.findall(r'(?:href|action|src)="([^"]*)"', page.text)) - {"tel:0231998877"}
    assert names_in("\n".join(addresses).encode()) == []
    assert platform.count("select count(*) from audit.entry") > 0
    assert {"identity.person", "scad.outbox", "audit.entry", "scad.access_event"} <= set(tables(platform))
    for table in tables(platform):  # also the identity schema: what is in it is sealed
        rows = platform.rows(f"select t::text from {table} t")
        assert names_in("\n".join(row[0] for row in rows).encode()) == [], table
    topics = asyncio.run(everything_in_kafka(kafka.bootstrap))
    assert sum(map(len, topics.values())) > 5
    for topic, records in topics.items():
        assert names_in(b"\n".join(records)) == [], topic
    logs = [path for path in platform.folder.rglob("*") if path.is_file() and "enrolment" not in path.name]
    assert any(path.suffix == ".log" for path in logs)
    for path in logs:
        assert names_in(path.read_bytes()) == [], path.name
    assert names_in(f"{TEAM} {platform.log()}".encode()) == []


def test_the_search_finds_what_it_looks_for() -> None:
    for text in SECRETS:
        for data in (text.encode(), text.upper().encode(), text.encode().hex().encode(),
                     base64.b64encode(b"x" + text.encode() + b"yz")):  # fmt: skip
            assert names_in(data), (text, data)
    assert names_in(b"Camille ESSAI, 1948-03-01") == []
