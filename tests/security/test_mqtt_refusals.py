"""What the MQTT broker of the deployment refuses, each tried on the real one, and that it says so."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from mqtt_line import ANSWER_SECONDS, NOT_AUTHORIZED, Line
from secured import Broker, Devices

from scad.tls import client_context


@pytest.fixture
def sc_1(broker: Broker, devices: Devices) -> Line:
    return Line(broker.tls_port, "sc-1", devices.passwords["sc-1"], devices.context())


def certified(broker: Broker, devices: Devices, device: str) -> Line:
    return Line(broker.certificate_port, None, None, devices.context(device), client_id=device)


def test_a_device_uses_its_own_topics_by_password_or_by_certificate(
    broker: Broker, devices: Devices, sc_1: Line
) -> None:
    with sc_1, certified(broker, devices, "ecg-1") as ecg_1:
        for line, device in ((sc_1, "sc-1"), (ecg_1, "ecg-1")):
            for leaf in ("readings", "status"):
                assert line.publish(f"scad/v1/{device}/{leaf}") in ("Success", "No matching subscribers")
            line.subscribe(f"scad/v1/{device}/receipts")
        with Line(broker.port, "bridge", broker.bridge_password, broker.tls, "scad-bridge-x") as bridge:
            for line, device in ((sc_1, "sc-1"), (ecg_1, "ecg-1")):
                bridge.publish(f"scad/v1/{device}/receipts", device.encode())
                assert line.arrived.wait(ANSWER_SECONDS)
                assert line.messages == [(f"scad/v1/{device}/receipts", device.encode())]


@pytest.mark.parametrize(
    "topic", ["scad/v1/sc-2/readings", "scad/v1/sc-1/receipts", "scad/v1/ecg-1/status", "scad/v1/x", "other"]
)
def test_a_device_publishes_on_no_topic_of_another_and_the_broker_says_so(
    broker: Broker, sc_1: Line, topic: str
) -> None:
    since = broker.mark
    with sc_1:
        assert sc_1.publish(topic) == NOT_AUTHORIZED
    broker.says("Denied PUBLISH from sc-1 ", since)
    broker.says(f"'{topic}'", since)


def test_a_certificate_confines_a_device_as_a_password_does(broker: Broker, devices: Devices) -> None:
    since = broker.mark
    with certified(broker, devices, "ecg-1") as line:
        assert line.publish("scad/v1/ecg-2/readings") == NOT_AUTHORIZED
    broker.says("Denied PUBLISH from ecg-1 ", since)


@pytest.mark.parametrize(
    "topic", ["scad/v1/sc-2/receipts", "scad/v1/+/receipts", "scad/v1/sc-2/#", "#", "$SYS/#"]
)
def test_a_device_is_delivered_nothing_of_another_and_its_wish_is_logged(
    broker: Broker, devices: Devices, sc_1: Line, topic: str
) -> None:
    since = broker.mark
    other = Line(broker.tls_port, "sc-2", devices.passwords["sc-2"], devices.context())
    with sc_1, other, Line(broker.port, "bridge", broker.bridge_password, broker.tls, "b") as bridge:
        sc_1.subscribe(topic)
        sc_1.subscribe("scad/v1/sc-1/receipts")
        other.subscribe("scad/v1/sc-2/receipts")
        bridge.publish("scad/v1/sc-2/receipts", b"for sc-2")
        bridge.publish("scad/v1/sc-1/receipts", b"for sc-1")  # behind the other: nothing else will come
        assert sc_1.arrived.wait(ANSWER_SECONDS)
        assert other.arrived.wait(ANSWER_SECONDS)
        assert {payload for _, payload in sc_1.messages} == {b"for sc-1"}
    broker.says(f"Subscription of sc-1 to {topic}", since)


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (None, None),
        ("sc-1", None),
        ("sc-1", "wrong"),
        ("sc-unknown", "secret"),
        ("bridge", ""),
        ("ecg-1", ""),
    ],
)
def test_nobody_comes_in_without_the_password(
    broker: Broker, devices: Devices, user: str | None, password: str | None
) -> None:
    since = broker.mark
    line = Line(broker.tls_port, user, password, devices.context())
    try:
        assert line.open() == NOT_AUTHORIZED
    finally:
        line.close()
    broker.says("not authorised", since)


@pytest.mark.parametrize("port", ["port", "tls_port", "certificate_port"])
def test_no_listener_speaks_without_tls(broker: Broker, devices: Devices, port: str) -> None:
    since = broker.mark
    with socket.create_connection(("127.0.0.1", getattr(broker, port)), timeout=ANSWER_SECONDS) as plain:
        plain.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04sc-1")
        try:
            said = plain.recv(100)
        except ConnectionResetError:
            said = b""
    assert said == b"" or said[0] == 0x15  # closed, or an alert of TLS: nothing of MQTT
    broker.says("SSL routines", since)


def test_a_device_that_trusts_another_authority_leaves_and_one_with_another_name_too(
    broker: Broker, devices: Devices, openssl: Callable[..., None], tmp_path: Path
) -> None:
    authority(openssl, tmp_path, "another")
    since = broker.mark
    stranger = client_context((tmp_path / "another.crt").read_text())
    for context, name, why in (
        (stranger, "localhost", "unable to get local issuer|self-signed"),
        (devices.context(), "mqtt.elsewhere.org", "Hostname mismatch"),
    ):
        with (
            socket.create_connection(("127.0.0.1", broker.tls_port), timeout=ANSWER_SECONDS) as plain,
            pytest.raises(ssl.SSLCertVerificationError, match=why),
        ):
            context.wrap_socket(plain, server_hostname=name)
    broker.says("unknown ca", since)


def authority(openssl: Callable[..., None], folder: Path, name: str) -> None:
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *("-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE"),
        *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"),
    )


def signed(openssl: Callable[..., None], folder: Path, by: tuple[Path, Path], start: str, end: str) -> None:
    """device.crt and device.key for ecg-2, signed by `by`, valid from `start` to `end` (YYYYMMDDHHMMSSZ)."""
    (folder / "index").touch()
    (folder / "extensions").write_text("extendedKeyUsage=clientAuth\n")
    (folder / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=own\n[own]\ndatabase={folder}/index\nrand_serial=yes\ndefault_md=sha256\n"
        f"policy=any\nnew_certs_dir={folder}\nunique_subject=no\n[any]\ncommonName=supplied\n"
    )
    openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ecg-2"),
        *("-keyout", folder / "device.key", "-out", folder / "device.csr"),
    )
    openssl(
        *("ca", "-batch", "-notext", "-config", folder / "ca.cnf", "-cert", by[0], "-keyfile", by[1]),
        *("-startdate", start, "-enddate", end, "-extfile", folder / "extensions"),
        *("-in", folder / "device.csr", "-out", folder / "device.crt"),
    )


@pytest.mark.parametrize(
    ("case", "logged"),
    [
        ("in time", ""),
        ("expired", "certificate verify failed"),
        ("not yet valid", "certificate verify failed"),
        ("another authority", "certificate verify failed"),
        ("a server's", "certificate verify failed"),
        ("none", "peer did not return a certificate"),
    ],
)
def test_a_certificate_counts_only_while_it_is_valid_and_if_it_is_a_devices_of_ours(
    broker: Broker, devices: Devices, openssl: Callable[..., None], tmp_path: Path, case: str, logged: str
) -> None:
    ours = (devices.secrets / "ca.crt", devices.secrets / "ca.key")
    if case == "a server's":
        shown = [(devices.secrets / f"mosquitto_{part}").read_text() for part in ("certificate", "key")]
    elif case == "none":
        shown = []
    else:
        by, dates = ours, {"expired": ("2020", "2021"), "not yet valid": ("2090", "2091")}
        if case == "another authority":
            authority(openssl, tmp_path, "another")
            by = (tmp_path / "another.crt", tmp_path / "another.key")
        start, end = (f"{year}0101000000Z" for year in dates.get(case, ("2020", "2090")))
        signed(openssl, tmp_path, by, start, end)
        shown = [(tmp_path / f"device.{end}").read_text() for end in ("crt", "key")]
    since = broker.mark
    line = Line(broker.certificate_port, "ecg-2", "x", client_context(devices.authority, *shown), "ecg-2")
    try:
        answer = line.open()
    finally:
        line.close()
    assert (answer == "Success") is (logged == "")
    broker.says(logged or "as ecg-2 ", since)


def test_a_device_that_names_anothers_client_id_does_not_throw_it_off(
    broker: Broker, devices: Devices, sc_1: Line
) -> None:
    since = broker.mark
    with Line(broker.tls_port, "sc-2", devices.passwords["sc-2"], devices.context()) as other:
        thief = Line(broker.tls_port, "sc-1", devices.passwords["sc-1"], devices.context(), client_id="sc-2")
        with thief, certified(broker, devices, "ecg-1"):
            other.subscribe("scad/v1/sc-2/receipts")  # answered: the line still stands
            assert not other.lost.is_set()
    broker.says(" as sc-1 (", since)
    assert broker.said()[since:].count(" as sc-2 (") == 1


@pytest.mark.parametrize("topic", ["scad/v1/sc-1/readings", "scad/v1/sc-1/receipts"])
def test_the_operators_account_speaks_for_nobody(broker: Broker, devices: Devices, topic: str) -> None:
    password, since = (devices.secrets / "mqtt_operator_password").read_text().strip(), broker.mark
    with Line(broker.port, "operator", password, broker.tls) as line:
        assert line.publish(topic) == NOT_AUTHORIZED
    broker.says("Denied PUBLISH from operator ", since)
    broker.says(f"'{topic}'", since)


def test_a_reading_that_is_in_order_leaves_no_line_in_the_log(broker: Broker, sc_1: Line) -> None:
    with sc_1:
        sc_1.subscribe("scad/v1/sc-1/receipts")
        since = broker.mark
        for _ in range(5):
            sc_1.publish("scad/v1/sc-1/readings")
        assert broker.said()[since:] == ""
