"""The pieces of the deployment on real programs: secrets, the broker's configuration, the database's roles."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import stat
import subprocess
from pathlib import Path

import msgspec
import psycopg
import pytest
from deployed import COMPOSE, ComposedKafka, ComposedMosquitto, ComposedPostgres, make_secrets, need_openssl

from scad.services import HOST
from scad.services.mosquitto import ACCEPTED
from scad.services.postgres import has_timescale
from scad.settings import load_settings
from streams.kafka import KafkaSetupError, ensure_topics

REFUSED = 5


@pytest.fixture(scope="module")
def made_once(services_folder):
    need_openssl()
    folder = services_folder / "secrets"
    done = make_secrets(folder, "127.0.0.1", "mqtt.example.org")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def secrets(made_once, service_folder):
    """A copy of secrets that were made once: drawing keys takes a while."""
    return Path(shutil.copytree(made_once, service_folder / "secrets"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def accounts(folder: Path) -> list[str]:
    return [line.split(":")[0] for line in (folder / "mosquitto_passwords").read_text().splitlines()]


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────


def test_every_secret_of_the_compose_file_is_made_and_the_folder_is_closed(secrets):
    made = contents(secrets)
    assert set(COMPOSE["secrets"]) <= set(made)
    assert set(made) - set(COMPOSE["secrets"]) == {
        *("ca.crt", "ca.key", "ca.index", "ca.crlnumber", ".gitignore"),  # the authority's own
        *(
            "mqtt_hosts",
            "kafka_key",
            "kafka_certificate",
            "kafka_broker_password",
        ),  # others are made of these
    }
    assert made[".gitignore"] == b"*\n"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    for name in COMPOSE["secrets"]:
        assert stat.S_IMODE((secrets / name).stat().st_mode) == 0o444, name
    assert stat.S_IMODE((secrets / "ca.key").stat().st_mode) == 0o600


def test_no_two_secrets_are_alike_and_each_has_192_bits(secrets):
    ours = [
        name
        for name in COMPOSE["secrets"]
        if re.search("(password|secret)$", name) and name not in ("smtp_password", "oidc_client_secret")
    ]
    drawn = [(secrets / name).read_text().strip() for name in ours]
    drawn += json.loads((secrets / "synthetic_accounts").read_text()).values()
    drawn.append((secrets / "kafka_broker_password").read_text().strip())
    assert len(drawn) == len(set(drawn)) == 18
    assert all(len(bytes.fromhex(text)) == 24 for text in drawn)


def test_the_mail_servers_password_is_left_to_the_operator(secrets):
    assert (secrets / "smtp_password").read_text() == ""


def test_an_installation_from_before_the_synthetic_reading_gets_its_account(secrets):
    (secrets / "synthetic_accounts").unlink()
    make_secrets(secrets, "remove", "synthetic-1")
    assert make_secrets(secrets).returncode == 0
    assert accounts(secrets) == ["bridge", "operator", "synthetic-1"]
    assert json.loads((secrets / "synthetic_accounts").read_text())["synthetic-1"]


def test_running_again_replaces_nothing(secrets):
    before = contents(secrets)
    assert make_secrets(secrets, "another.example.org").returncode == 0
    assert contents(secrets) == before


def test_what_is_missing_is_made_beside_what_is_there(secrets):
    before = contents(secrets)
    (secrets / "grafana_admin_password").unlink()
    assert make_secrets(secrets).returncode == 0
    after = contents(secrets)
    assert after.pop("grafana_admin_password") != before.pop("grafana_admin_password")
    assert after == before


def test_the_processes_can_use_the_addresses_as_they_are_written(secrets):
    settings = load_settings(
        {
            "SCAD_DATABASE_FILE": str(secrets / "database_url"),
            "SCAD_MQTT_PASSWORD_FILE": str(secrets / "mqtt_bridge_password"),
        }
    )
    parts = psycopg.conninfo.conninfo_to_dict(settings.database)
    assert parts == {
        "user": "scad",
        "password": (secrets / "database_password").read_text().strip(),
        "host": "timescaledb",
        "port": "5432",
        "dbname": "scad",
        "sslmode": "verify-full",
        "sslrootcert": "/run/secrets/ca_certificate",
    }


@pytest.mark.parametrize("serial", ["", "a b", "a:b", "ä", "x" * 65, "bridge", "operator", "a\nb"])
def test_an_account_that_cannot_be_is_refused(secrets, serial):
    before = contents(secrets)
    done = make_secrets(secrets, "device", serial)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert contents(secrets) == before


def test_an_account_is_not_given_a_second_password_unasked(secrets):
    assert make_secrets(secrets, "device", "sc.1").returncode == 0
    again = make_secrets(secrets, "device", "sc.1")
    assert again.returncode == 1
    assert "remove it first" in again.stderr
    assert make_secrets(secrets, "device", "scx1").returncode == 0  # a dot stands for itself
    assert make_secrets(secrets, "remove", "sc.1").returncode == 0
    assert accounts(secrets) == ["bridge", "operator", "synthetic-1", "scx1"]


def test_a_fleet_gets_an_account_for_each_device_once(secrets):
    enrolment = {"patients": [{"devices": [{"device": "bp-1"}, {"device": "sc-1"}]}, {"care_team": "caen"}]}
    for _ in range(2):
        assert make_secrets(secrets, "fleet", text=json.dumps(enrolment)).returncode == 0
    assert accounts(secrets) == ["bridge", "operator", "synthetic-1", "bp-1", "sc-1"]
    known = json.loads((secrets / "fleet_accounts").read_text())
    assert set(known) == {"bp-1", "sc-1"}


def test_accounts_need_the_secrets_first(tmp_path):
    done = make_secrets(tmp_path / "none", "device", "sc-1")
    assert done.returncode == 1
    assert "make the secrets first" in done.stderr


# ── the broker ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def broker(mosquitto, secrets, service_folder):
    with ComposedMosquitto(service_folder, secrets) as running:
        yield running


def test_a_device_with_an_account_publishes_over_tls_and_without_one_nobody_does(broker, secrets):
    password = make_secrets(secrets, "device", "sc-1").stdout.strip()
    broker.reread("sc-1", password, ACCEPTED)
    sent = subprocess.run(
        [
            *(broker.program("mosquitto_pub"), "-h", HOST, "-p", str(broker.tls_port)),
            *("--cafile", secrets / "ca.crt", "-V", "mqttv5", "-q", "1", "-i", "sc-1"),
            *("-u", "sc-1", "-P", password, "-t", "scad/v1/sc-1/readings", "-m", "{}"),
        ],
        capture_output=True,
        text=True,
    )
    assert (sent.returncode, sent.stderr) == (0, "")
    assert broker.connack() == REFUSED
    make_secrets(secrets, "remove", "sc-1")
    broker.reread("sc-1", password, REFUSED)


def test_the_certificate_is_for_the_names_that_were_given(secrets):
    context = ssl.create_default_context(cafile=str(secrets / "ca.crt"))
    assert len(context.get_ca_certs()) == 1
    said = subprocess.run(
        ["openssl", "x509", "-in", secrets / "mosquitto_certificate", "-noout", "-ext", "subjectAltName"],
        capture_output=True,
        text=True,
    ).stdout
    for name in ("DNS:localhost", "IP Address:127.0.0.1", "DNS:mqtt.example.org"):
        assert name in said


def test_the_brokers_health_check_tells_a_broker_from_none(broker, secrets):
    kind, line = COMPOSE["services"]["mosquitto"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    line = line.replace("$$", "$").replace("/run/secrets", str(secrets))
    line = line.replace("-p 8885", f"-p {broker.port}")
    line = line.replace("mosquitto_pub", broker.program("mosquitto_pub"), 1)
    assert subprocess.run(["/bin/sh", "-c", line], capture_output=True).returncode == 0
    broker.stop()
    assert subprocess.run(["/bin/sh", "-c", line], capture_output=True).returncode != 0


# ── Kafka ─────────────────────────────────────────────────────────────────────────────────────────────


def test_kafka_starts_as_the_deployment_configures_it_and_takes_the_topics(kafka, secrets, service_folder):
    with ComposedKafka(service_folder / "kafka", secrets) as node:
        asyncio.run(ensure_topics(node.settings))
        asyncio.run(ensure_topics(node.settings))  # finds them as they must be
        wrong = msgspec.structs.replace(node.settings, kafka_password="wrong")
        with pytest.raises(KafkaSetupError, match="refuses the account 'scad'"):
            asyncio.run(ensure_topics(wrong))


# ── the database ──────────────────────────────────────────────────────────────────────────────────────


def test_the_steps_make_the_database_and_grafana_reads_pseudonyms_only(postgres, secrets, service_folder):
    if not has_timescale():
        pytest.skip("the deployment's database is TimescaleDB, and plain PostgreSQL is installed here")
    with ComposedPostgres(service_folder / "postgres", secrets) as server:
        for step in ("init", "grants", "init", "grants"):
            server.run(step)
        with psycopg.connect(server.address("scad", "database_password"), autocommit=True) as owner:
            rights = owner.execute("select rolsuper, rolcreaterole from pg_roles where rolname = 'scad'")
            assert rights.fetchone() == (False, True)
            accounts = owner.execute("select login, role, care_team from scad.account")
            assert accounts.fetchall() == [("prometheus", "engineer", None)]
            owner.execute("insert into scad.care_team values ('caen', 'Caen')")
            owner.execute("insert into scad.patient values ('p-1', 'caen', now())")
        feed = server.address("feed", "feed_database_password")
        with psycopg.connect(feed, autocommit=True) as conn:
            assert conn.execute("select count(*) from scad.patient").fetchone() == (0,)  # no viewer, no row
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute("select * from scad.reading")
            with conn.transaction():
                conn.execute("set local role scad_service")
                assert conn.execute("select count(*) from scad.patient").fetchone() == (1,)
        reader = server.address("grafana", "grafana_database_password")
        with psycopg.connect(reader, autocommit=True) as conn:
            assert conn.execute("select count(*) from scad.panel_patient").fetchone() == (1,)
            for table in ("reading", "reading_daily", "panel_alert", "panel_plan", "panel_device"):
                assert conn.execute(f"select count(*) from scad.{table}").fetchone() == (0,)
            for forbidden in (
                "select * from identity.person",
                "select * from scad.account",
                "select * from scad.session",
                "select raw from scad.quarantine",
                "select body from scad.alert_event",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(forbidden)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                conn.execute("create temporary table x (y int)")
