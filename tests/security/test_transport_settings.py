"""Settings of TLS and accounts: what cannot be meant is refused at start, and no secret is repeated."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from secured import Devices

from scad.settings import Settings, SettingsError, load_settings
from scad.tls import client_context, faust_credentials, kafka_security, mqtt_context


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"SCAD_MQTT_CA": "x"}, "SCAD_MQTT_TLS"),
        ({"SCAD_KAFKA_CERTIFICATE": "x"}, "SCAD_KAFKA_TLS"),
        ({"SCAD_MQTT_TLS": "true", "SCAD_MQTT_CA": "no certificate"}, "SCAD_MQTT_CA"),
        ({"SCAD_MQTT_TLS": "true", "SCAD_MQTT_KEY": "alone"}, "give both"),
        ({"SCAD_KAFKA_USER": "scad"}, "SCAD_KAFKA_PASSWORD"),
        ({"SCAD_KAFKA_USER": "scad", "SCAD_KAFKA_PASSWORD": "hush-hush"}, "SCAD_KAFKA_TLS=true"),
        ({"SCAD_KAFKA_MECHANISM": "GSSAPI"}, "SCAD_KAFKA_MECHANISM"),
        ({"SCAD_KAFKA_PASSWORD_FILE": "/nowhere/at/all"}, "SCAD_KAFKA_PASSWORD_FILE"),
    ],
)
def test_half_a_lock_is_refused_at_start_with_the_settings_name(given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(given)
    assert named in str(refused.value)
    assert "hush-hush" not in str(refused.value)


def test_without_settings_nothing_changes_for_a_demo() -> None:
    assert kafka_security(Settings()) == {}
    assert faust_credentials(Settings()) is None
    assert mqtt_context(Settings()) is None


def test_a_context_checks_certificate_and_name_and_speaks_no_old_tls(
    devices: Devices, tmp_path: Path
) -> None:
    folder = devices.secrets / "devices"
    certificate, key = ((folder / f"ecg-1.{end}").read_text() for end in ("crt", "key"))
    context = client_context(devices.authority, certificate, key)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) == 1  # ours alone, not the system's
    with pytest.raises(ValueError, match="cannot be used together"):
        client_context(devices.authority, certificate, (folder / "ecg-2.key").read_text())


def test_a_client_of_kafka_without_an_account_shows_its_certificate(devices: Devices) -> None:
    settings = Settings(kafka_tls=True, kafka_ca=devices.authority)
    assert kafka_security(settings)["security_protocol"] == "SSL"
    assert faust_credentials(settings).protocol.value == "SSL"
    account = Settings(kafka_tls=True, kafka_ca=devices.authority, kafka_user="u", kafka_password="p")
    assert kafka_security(account)["sasl_mechanism"] == "SCRAM-SHA-512"
    assert faust_credentials(account).mechanism.value == "SCRAM-SHA-512"
    assert "SASL_SSL" in (
        kafka_security(account)["security_protocol"],
        faust_credentials(account).protocol.value,
    )
