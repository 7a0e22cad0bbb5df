"""A device's access ends at once: no new connection, and the one that stands is cut with its session."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deployed import ROOT, make_secrets
from mqtt_line import ANSWER_SECONDS, NOT_AUTHORIZED, Line
from secured import Broker, Devices

from scad.revocation import Broker as Address
from scad.revocation import RevocationError, check_serial, cut, remove_account

AT_ONCE_SECONDS = 5.0
"""From the broker's having read its files to the end of the standing connection."""


def revoke(broker: Broker, devices: Devices, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """`scad device revoke`, with what the service `operator` of compose.yaml is given."""
    return subprocess.run(
        [sys.executable, "-m", "scad", "device", "revoke", *words],
        capture_output=True,
        text=True,
        env={
            **{"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            "SCAD_MQTT": f"localhost:{broker.port}",
            "SCAD_MQTT_TLS": "true",
            "SCAD_MQTT_CA_FILE": str(devices.secrets / "ca_certificate"),
            "SCAD_MQTT_USER": "operator",
            "SCAD_MQTT_PASSWORD_FILE": str(devices.secrets / "mqtt_operator_password"),
        },
    )


def operator(broker: Broker, devices: Devices) -> Address:
    password = (devices.secrets / "mqtt_operator_password").read_text().strip()
    return Address("localhost", broker.port, "operator", password, broker.tls)


def test_a_revoked_password_ends_the_connection_and_the_session_at_once(
    broker: Broker, devices: Devices, tmp_path: Path
) -> None:
    passwords, pid_file = devices.secrets / "mosquitto_passwords", tmp_path / "mosquitto.pid"
    pid_file.write_text(f"{broker.pid}\n")
    inode, since = passwords.stat().st_ino, broker.mark
    gone = Line(broker.tls_port, "sc-gone", devices.passwords["sc-gone"], devices.context(), stubborn=True)
    other = Line(broker.tls_port, "sc-2", devices.passwords["sc-2"], devices.context())
    with gone, other:
        gone.subscribe("scad/v1/sc-gone/receipts")
        done = revoke(
            broker, devices, "sc-gone", "--watch", "1", "--passwords", passwords, "--pid-file", pid_file
        )
        assert (done.returncode, done.stdout) == (0, "sc-gone: account taken away\nsc-gone is cut off\n")
        assert gone.lost.wait(ANSWER_SECONDS)  # the command has ended; the client's thread hears of it
        assert not other.lost.is_set()  # nobody else notices
    assert passwords.stat().st_ino == inode  # written in place: a container holds this very file
    assert "sc-gone" not in passwords.read_text()
    assert "probe" not in passwords.read_text()
    again = Line(broker.tls_port, "sc-gone", devices.passwords["sc-gone"], devices.context())
    assert again.open() == NOT_AUTHORIZED
    again.close()
    broker.says("u'operator'", since)
    broker.says("not authorised", since)
    log = json.loads(done.stderr.splitlines()[-1])
    assert (log["event"], log["device"]) == ("device.cut", "sc-gone")


def test_a_revoked_certificate_ends_the_connection_at_once(broker: Broker, devices: Devices) -> None:
    kept = {name: (devices.secrets / "devices" / f"ecg-gone.{name}").read_bytes() for name in ("crt", "key")}
    context = devices.context("ecg-gone")
    since = broker.mark
    with Line(broker.certificate_port, None, None, context, client_id="ecg-gone", stubborn=True) as line:
        assert make_secrets(devices.secrets, "remove", "ecg-gone").returncode == 0
        broker.reload()
        broker.says("Reloading config", since)
        assert not line.lost.is_set()  # the list of revoked certificates is looked at when a client connects
        done = revoke(broker, devices, "ecg-gone", "--watch", "0")
        assert (done.returncode, done.stdout) == (0, "ecg-gone is cut off\n")
        assert line.lost.wait(AT_ONCE_SECONDS)
    again = Line(broker.certificate_port, None, None, context, client_id="ecg-gone")
    assert again.open() != "Success"
    again.close()
    broker.says("certificate verify failed", since)
    assert kept  # the device itself still has both: they are worth nothing
    assert not (devices.secrets / "devices/ecg-gone.key").exists()


def test_what_waited_for_a_revoked_device_is_gone_with_its_session(broker: Broker, devices: Devices) -> None:
    password = devices.passwords["sc-back"]
    with Line(broker.tls_port, "sc-back", password, devices.context()) as line:
        line.subscribe("scad/v1/sc-back/receipts")
    with Line(broker.port, "bridge", broker.bridge_password, broker.tls, "scad-bridge-y") as bridge:
        bridge.publish("scad/v1/sc-back/receipts", b"queued while it was away")
    cut("sc-back", operator(broker, devices), watch_seconds=0)
    with Line(broker.tls_port, "sc-back", password, devices.context()) as line:
        line.subscribe("scad/v1/sc-back/receipts")
        assert line.messages == []


def test_a_device_that_still_has_its_account_comes_back_and_the_command_says_so(
    broker: Broker, devices: Devices
) -> None:
    password = devices.passwords["sc-back"]
    with Line(broker.tls_port, "sc-back", password, devices.context(), stubborn=True) as line:
        done = revoke(broker, devices, "sc-back", "--watch", "20")
        assert line.lost.wait(ANSWER_SECONDS)
    assert done.returncode == 1
    assert "sc-back came back: its account or certificate still stands" in done.stderr


def test_what_cannot_be_revoked_is_named_with_the_remedy(
    broker: Broker, devices: Devices, tmp_path: Path
) -> None:
    address = operator(broker, devices)
    for name in ("", "a b", "x" * 65, "../sc", "bridge", "operator"):
        with pytest.raises(RevocationError):
            check_serial(name)
    wrong = Address(address.host, address.port, "operator", "wrong", address.tls)
    with pytest.raises(RevocationError, match="refuses the account 'operator'"):
        cut("sc-1", wrong, 0)
    with pytest.raises(RevocationError, match="cannot be reached"):
        cut("sc-1", Address("localhost", 1, "operator", "x"), 0)
    with pytest.raises(RevocationError, match="keeps its account"):
        remove_account(tmp_path / "none", "sc-1", tmp_path / "none", address)
    passwords, pid_file = tmp_path / "passwords", tmp_path / "pid"
    shutil.copy(devices.secrets / "mosquitto_passwords", passwords)
    pid_file.write_text("4194305")  # above the highest number that Linux gives
    with pytest.raises(RevocationError, match="does not run"):
        remove_account(passwords, "sc-1", pid_file, address)
    assert "probe" not in passwords.read_text()
    assert revoke(broker, devices, "sc-1", "--passwords", passwords).returncode == 2
