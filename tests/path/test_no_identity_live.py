"""A run of the whole platform with identities: names, birth dates, INS and telephone are in the identity schema,
encrypted, and on pages that show them to who may see them. Nowhere else: not in a topic, a table, a log, any process's
metrics, an error's page, the address of any page, a mail, a webhook or an export."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import prometheus_client
import psycopg
import pyarrow.parquet as pq
import pytest
from live_clients import Device
from whole_platform import DAY_MS, TEAM, Platform, device, patient, reading

from alerts.escalation.channels import Channels
from alerts.escalation.delivery import deliver
from alerts.escalation.mail import compose
from alerts.escalation.message import Message, Sent
from alerts.escalation.process import connect
from alerts.escalation.tick import tick
from alerts.escalation.webhook import payload
from alerts.exports.pseudonyms import Pseudonyms
from alerts.exports.research import export_research
from alerts.exports.usage import as_csv, usage
from alerts.feed.accounts import create_account
from alerts.service_times import parse_service_times, record_service_times
from scad.services import Kafka, Mosquitto, Postgres
from scad.settings import Settings
from streams import kafka as streams_kafka
from streams.protocols import load_published

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

OID = "1.2.250.1.213.1.4.10"
PEOPLE: dict[str, dict[str, Any]] = {
    "p-hidden": {
        "family_name": "Quesnelière",
        "given_names": "Théodora",
        "birth_date": "1937-04-19",
        "sex": "female",
        "phone": "02 31 99 88 77",
        "birth_place": "14118",
        "ins": {"value": "248057500100134", "oid": OID},
    },
    "p-beside": {
        "family_name": "D'Haubervilliers",
        "given_names": "Côme-Aubin",
        "birth_date": "1951-12-27",
        "sex": "male",
        "phone": "07 61 52 43 34",
        "ins": {"value": "151127500200317", "oid": OID},
    },
    "p-elsewhere": {  # of another team: seen by breaking the glass
        "family_name": "Kerviniou",
        "given_names": "Zéphyrine",
        "birth_date": "1944-08-03",
        "sex": "female",
        "phone": "02 96 15 26 37",
        "ins": {"value": "244082900300105", "oid": OID},
    },
}
CAREGIVER = "Philiberte Quesnelière-Aubin"
OTHER_TEAM = "elsewhere"
ADMINISTRATOR, ENGINEER, PASSWORD = "the-administrator", "the-engineer", "a-long-password-of-a-test"
SENDER, PAGE = "scad@example.org", "https://scad.example.org/"


def plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def said_of(who: dict[str, Any]) -> set[str]:
    """The texts of an identity: names with and without accents, the birth date in two forms, INS, telephone."""
    names = {who["family_name"], who["given_names"]}
    day = "/".join(reversed(who["birth_date"].split("-")))
    return names | set(map(plain, names)) | {who["birth_date"], day, who["ins"]["value"], who["phone"][3:]}


SECRETS = sorted(set().union(*map(said_of, PEOPLE.values()), {"Philiberte"}))


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


def enrolled(platform: Platform, begin_ms: int) -> None:
    """The three of PEOPLE, two of them in the nurse's team, and whom to tell when nobody answers."""
    teams = [
        {"care_team": name, "name": f"Équipe {name}", "time_zone": "Europe/Paris"}
        for name in (TEAM, OTHER_TEAM)
    ]
    patients = [
        {**patient(name, [device(f"sc-{name}", begin_ms)], ["heart-failure"], begin_ms), "identity": who,
         "care_team": OTHER_TEAM if name == "p-elsewhere" else TEAM}
        for name, who in PEOPLE.items()
    ]  # fmt: skip
    platform.enrol(*patients, care_teams=teams)
    chain = [
        {"person": "on-call", "channel": channel, "address": address}
        for channel, address in (("mail", "on-call@example.org"), ("webhook", "https://pager.example.org/x"))
    ]
    with psycopg.connect(platform.dsn, autocommit=True) as conn:
        now = datetime.now(UTC)
        times = parse_service_times({"steps": [{"after": 0, "to": chain}]}, TEAM)
        record_service_times(conn, TEAM, times, "tests", now)
        create_account(conn, ADMINISTRATOR, PASSWORD, "administrator", None, at=now)
        create_account(conn, ENGINEER, PASSWORD, "engineer", None, at=now)
        for one in chain:
            conn.execute(
                "insert into scad.administrator_contact (login, channel, address) values (%s, %s, %s)",
                (ADMINISTRATOR, one["channel"], one["address"]),
            )


def measured(platform: Platform, begin_ms: int) -> None:
    """Weights that alert, and one that is refused, of the two in the nurse's team; until the alerts are there."""
    for name in ("p-hidden", "p-beside"):
        readings = [
            reading(f"sc-{name}", n, "body-weight", begin_ms + n * DAY_MS, weight=weight)
            for n, weight in enumerate((80.0, 80.1, 83.4, 500.0), start=1)
        ]
        with Device(platform, f"sc-{name}") as scale:
            scale.send(*readings).until_receipt(4)
    alerted = "select count(distinct patient) from scad.alert where class = 'clinical'"
    platform.until(lambda: platform.count(alerted) == 2, "an alert of each")


def addresses_in(page: str) -> set[str]:
    """Where a page leads, unescaped; a telephone's own link apart."""
    found = set(map(unescape, re.findall(r'(?:href|action|formaction|src)="([^"]*)"', page)))
    return {address for address in found if not address.startswith("tel:")}


PAGES_MAX = 80
"""Pages that are walked through: more than there are kinds of pages, each of a patient or two."""


def walked(client: httpx.Client) -> tuple[set[str], int]:
    """Every address that a page names which can be reached from the queue, and how many pages that were."""
    named: set[str] = set()
    kinds, queue, seen = set(), ["/"], set()
    while queue and len(seen) < PAGES_MAX:
        path = queue.pop(0)
        answer = client.get(path)
        seen.add(path)
        named.update(f"{name}: {value}" for name, value in answer.headers.items())
        if "html" not in answer.headers.get("content-type", ""):
            continue
        for address in addresses_in(answer.text):
            named.add(address)
            kind = re.sub(r"[0-9a-f-]{36}|p-[a-z]+|\d+", "*", address)
            if address.startswith("/") and "report.pdf" not in address and kind not in kinds:
                kinds.add(kind)
                queue.append(address)
    return named, len(seen)


def linked_pages(platform: Platform, client: httpx.Client) -> set[str]:
    """Addresses on the tablet's page and on those of an invited caregiver, with what they answered."""
    token = {"csrf": client.headers["X-CSRF-Token"]}
    given = client.post("/patients/p-hidden/tablet", data=token)
    invited = client.post(
        "/patients/p-hidden/caregivers", data={**token, "name": CAREGIVER, "asked": "1", "readings": "1"}
    )
    assert (given.status_code, invited.status_code) == (200, 200)
    code = re.findall(r'class="code">(\d{4} \d{4})<', given.text)[0]
    login, invitation = re.findall(r'<b class="code">([^<]+)</b>', invited.text)
    named: set[str] = addresses_in(given.text) | addresses_in(invited.text)
    with httpx.Client(base_url=platform.feed_url, timeout=30) as tablet:
        answers = [tablet.post("/tablet/link", data={"code": code}), tablet.get("/tablet")]
    with httpx.Client(base_url=platform.feed_url, timeout=30) as browser:
        said = {"login": login, "code": invitation, "password": PASSWORD, "again": PASSWORD}
        answers += [browser.get("/caregiver/join"), browser.post("/caregiver/join", data=said),
                    browser.get("/caregiver"), browser.get("/login/second-factor")]  # fmt: skip
    assert [answer.status_code for answer in answers] == [303, 200, 200, 303, 303, 200]
    for answer in answers:
        assert names_in(answer.content) == [], answer.url
        named |= addresses_in(answer.text) | {answer.headers.get("location", "")}
    return named


def through_the_glass(client: httpx.Client) -> None:
    """The nurse sees the patient of the other team, found by names and birth date; the address is a pseudonym."""
    who = PEOPLE["p-elsewhere"]
    typed = {name: who[name] for name in ("family_name", "given_names", "birth_date")}
    said = {"csrf": client.headers["X-CSRF-Token"], "reason": "relève de nuit, appel du centre 15", **typed}
    answer = client.post("/glass", data=said)
    assert (answer.status_code, answer.headers["location"]) == (303, "/patients/p-elsewhere")
    page = client.get("/patients/p-elsewhere").text
    assert "Zéphyrine Kerviniou" in page
    assert names_in("\n".join(addresses_in(page)).encode()) == []


def every_metric(platform: Platform) -> dict[str, bytes]:
    """What each process tells Prometheus; the escalation has run in this one."""
    found = {name: platform.metrics(name) for name in ("bridge", "worker")}
    with httpx.Client(base_url=platform.feed_url, timeout=30) as engineer:
        engineer.post("/login", data={"user": ENGINEER, "password": PASSWORD})
        found["feed"] = engineer.get("/metrics").content
    return {**found, "escalation": prometheus_client.generate_latest()}


class Kept:
    """A channel that keeps what it would have sent, as it goes over the wire."""

    def __init__(self, as_sent: Callable[[Message, datetime], bytes]) -> None:
        self._as_sent = as_sent
        self.sent: list[tuple[str, bytes]] = []

    async def send(self, message: Message, now: datetime) -> Sent:
        self.sent.append((message.kind, self._as_sent(message, now)))
        return Sent("sent")


def letter(message: Message, now: datetime) -> bytes:
    made = compose(message, SENDER, now)
    return made.as_bytes() + made.get_content().encode()


def messages(platform: Platform) -> list[tuple[str, bytes]]:
    """Mails and webhooks when nobody has answered for ten days, and of the broken glass."""
    mail, webhook = Kept(letter), Kept(lambda message, now: payload(message))
    settings = Settings(database=platform.dsn)

    async def rounds() -> None:
        later = datetime.now(UTC) + timedelta(days=10)
        async with await connect(settings) as conn:
            for _ in range(2):
                await tick(conn, later)
                await deliver(conn, Channels(PAGE, {"mail": mail, "webhook": webhook}), later)

    asyncio.run(rounds())
    for channel in (mail, webhook):
        assert {kind for kind, _ in channel.sent} >= {"escalation", "glass"}
    return mail.sent + webhook.sent


def exported(platform: Platform) -> bytes:
    """The usage extract and the files for research, as text."""
    now = datetime.now(UTC)
    folder = platform.folder / "research"
    with psycopg.connect(platform.dsn, autocommit=True) as conn:
        months = {f"{at:%Y-%m}" for at in (now, now - timedelta(days=5))}
        texts = [as_csv(usage(conn, month, load_published(), now)) for month in sorted(months)]
        names = Pseudonyms("no-identity", b"a key of thirty-two bytes, or so")
        done = export_research(conn, names, folder, now - timedelta(days=30), now + timedelta(days=1), now)
    assert done.patients == 3
    assert done.readings >= 6
    files = sorted(folder.glob("*.parquet"))
    assert len(files) == 3
    texts += [repr(pq.read_table(file).to_pylist()) for file in files]
    return "\n".join(texts).encode()


def test_no_identity_is_anywhere_but_where_it_belongs(platform: Platform, kafka: Kafka) -> None:
    begin_ms = platform.now_ms() - 5 * DAY_MS
    enrolled(platform, begin_ms)
    measured(platform, begin_ms)
    client = platform.feed_login()
    who = PEOPLE["p-hidden"]
    # it is there for who may see it …
    page = client.get("/patients/p-hidden")
    assert "Théodora Quesnelière" in page.text
    assert client.get("/fhir/Patient/p-hidden").json()["name"][0]["family"] == "Quesnelière"
    (alert,) = platform.rows("select alert::text from scad.alert where patient = 'p-hidden' limit 1")[0]
    assert client.post(f"/api/alerts/{alert}/acknowledge", json={}).status_code == 200
    again = {
        "csrf": client.headers["X-CSRF-Token"],
        **{name: who[name] for name in ("birth_date", "sex")},
        "ins": who["ins"]["value"],
        "ins_oid": OID,
        "family_name": "Quesneliere",
        "given_names": "Theodora",
    }
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
    through_the_glass(client)
    named, pages = walked(client)
    assert pages >= 20
    assert names_in("\n".join(named | linked_pages(platform, client)).encode()) == []
    for kind, message in messages(platform):
        assert names_in(message) == [], kind
    assert names_in(exported(platform)) == []
    for process, metrics in every_metric(platform).items():
        assert b"# TYPE" in metrics, process
        assert names_in(metrics) == [], process
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
