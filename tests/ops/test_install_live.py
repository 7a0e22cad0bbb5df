"""The operation page's way without containers: its lines make the passwords, the database and the broker's files,
and PostgreSQL and mosquitto then let in whom they should.

Not run are the lines that add users to the machine and fetch packages; only paths, ports and owners are the test's."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import psycopg
import pytest
from deployed import ROOT, need_openssl
from psycopg.conninfo import make_conninfo

from alerts.schema import apply_schema, schema_status
from scad.services import HOST, Mosquitto, Postgres, free_port
from scad.services.mosquitto import ACCEPTED, connack
from scad.tls import client_context
from tests.conftest import obtain

PAGE = (ROOT / "docs/operation.md").read_text()
OF_THE_MACHINE = ("useradd ", "python3 -m venv", "/opt/scad/bin/pip", "ln -s /opt/scad", "systemctl ")
NOT_AUTHORIZED = 5


def block(name: str) -> str:
    (found,) = re.findall(rf"<!-- {name}: [^>]*-->\n```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for line in found.splitlines() if not line.startswith(OF_THE_MACHINE)]
    return "\n".join(lines)


def run(name: str, folder: Path, **environment: str) -> None:
    text = block(name)
    for before, after in (
        ("setpriv --reuid=postgres --regid=postgres --init-groups ", ""),
        (" -o mosquitto -g mosquitto", ""),
        ("/etc/", f"{folder}/etc/"),
    ):
        text = text.replace(before, after)
    done = subprocess.run(
        ["/bin/sh", "-euc", text],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


class Installed(Mosquitto):
    """mosquitto with what the page has put into its conf.d, and what Debian's own file says."""

    def __init__(self, folder: Path, etc: Path) -> None:
        secrets = etc / "scad/secrets"
        super().__init__(
            folder / "broker", {"bridge": (secrets / "mqtt_bridge_password").read_text().strip()}
        )
        self.etc, self.tls_port = etc, free_port([self.port])

    def prepare(self) -> None:
        ours = self.etc / "mosquitto/conf.d/scad.conf"
        text = ours.read_text()
        for before, after in (
            ("listener 1883 127.0.0.1\n", f"listener {self.port} {HOST}\n"),
            ("listener 8883\n", f"listener {self.tls_port} {HOST}\n"),
        ):
            assert before in text
            text = text.replace(before, after)
        ours.write_text(text)
        data = self.folder / "data"
        data.mkdir()
        root = "user root\n" if os.geteuid() == 0 else ""  # else it becomes a user who cannot read this
        debian = f"{root}persistence_location {data}/\ninclude_dir {ours.parent}\n"
        (self.folder / "mosquitto.conf").write_text(debian)


class Fresh(Postgres):
    """A server in which nobody has made a role yet."""

    def started(self) -> None:
        pass


@pytest.mark.slow
def test_who_follows_the_page_without_containers_gets_a_database_and_a_broker(service_folder: Path) -> None:
    need_openssl()
    etc = service_folder / "etc"
    etc.mkdir()
    run("program", service_folder)
    secrets = etc / "scad/secrets"
    (etc / "mosquitto/conf.d").mkdir(parents=True)  # Debian's package brings it

    run("broker", service_folder)
    with obtain(lambda: Installed(service_folder, etc).start()) as broker:
        tls = client_context((secrets / "ca_certificate").read_text())
        synthetic = (secrets / "synthetic_accounts").read_text().split('"')[3]  # as the settings' block does
        assert connack(broker.port, "bridge", broker.bridge_password) == ACCEPTED
        assert connack(broker.tls_port, "synthetic-1", synthetic, tls) == ACCEPTED
        for user, password in ((None, ""), ("bridge", "guessed"), ("synthetic-1", broker.bridge_password)):
            assert connack(broker.port, user, password) == NOT_AUTHORIZED

    with obtain(lambda: Fresh(service_folder / "database").start()) as server:
        admin = server.admin_dsn.split("//postgres:")[1].split("@")[0]
        where = {"PGHOST": HOST, "PGPORT": str(server.port), "PGPASSWORD": admin}
        path = f"{Path(server.program('psql')).parent}:{os.environ['PATH']}"
        run("database", service_folder, PATH=path, **where)
        owner = (secrets / "database_password").read_text().strip()
        address = make_conninfo(host=HOST, port=server.port, user="scad", password=owner, dbname="scad")
        with psycopg.connect(address, autocommit=True) as conn:
            apply_schema(conn)
            assert schema_status(conn).pending == ()
        feed = make_conninfo(
            address, user="feed", password=(secrets / "feed_database_password").read_text().strip()
        )
        with psycopg.connect(feed) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("select * from scad.reading")
        script = (ROOT / "deploy/database-init.sh").read_text()
        last = script.partition("\\connect scad\n")[2].rpartition("SQL\n")[0]
        plain = subprocess.run(  # as where that extension is not installed
            ["psql", "-v", "ON_ERROR_STOP=1", "--username", "postgres", "--dbname", "scad"],
            input=last.replace("'timescaledb'", "'not-installed'"),
            env={"PATH": path, **where},
            capture_output=True,
            text=True,
        )
        assert (plain.returncode, "does without it" in plain.stdout) == (0, True), plain.stderr
