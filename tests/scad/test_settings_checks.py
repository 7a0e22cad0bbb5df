"""What load_settings refuses, all at once: values out of bounds, what contradicts itself, names that are none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.escalation import webhook
from alerts.feed import viewer
from scad.checks import check_all
from scad.settings import Settings, SettingsError, load_settings
from scad.settings_checks import BOUNDS, NOT_OURS, ROLES, SECRET_CHARACTERS_MIN

WRONG = {
    "SCAD_LOG_LEVEL": "verbose",
    "SCAD_PARTITIONS": "0",
    "SCAD_REPLICATION": "0",
    "SCAD_FEED_PORT": "-1",
    "SCAD_METRICS_PORT": "65536",
    "SCAD_TICK_SECONDS": "-15",
    "SCAD_SECOND_FACTOR": "physician,doctor",
    "SCAD_OIDC_ISSUER": "id.example.org",
    "SCAD_SMTP_HOST": "mail.example.org",
    "SCAD_SMTP_SECURITY": "none",
    "SCAD_SMTP_PASSWORD": "secret",
    "SCAD_WEBHOOK_SECRET": "short",
    "SCAD_IDENTITY_KEYS": "1 dG9vIHNob3J0",
    "SCAD_DATABASE": "postgresql://scad:nobody-knows-this@[",
    "SCAD_MQTT_PASWORD": "misspelt",
}
NAMED = {*WRONG, "SCAD_SMTP_FROM", "SCAD_OIDC_CLIENT_ID"} - {"SCAD_SMTP_HOST"}


def refused(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as error:
        load_settings(environ)
    return str(error.value)


def test_everything_that_is_wrong_is_said_at_once_whichever_process_needs_it() -> None:
    said = refused(WRONG)
    for name in NAMED:
        assert name in said, said
    assert "SCAD_MQTT_PASWORD is no setting; SCAD_MQTT_PASSWORD is meant?" in said
    for secret in ("nobody-knows-this", "short", "misspelt", "dG9vIHNob3J0"):
        assert secret not in said.replace("too short", "")


def test_scad_check_says_it_in_words_and_has_no_traceback() -> None:
    found = check_all({"SCAD_DATABASE": "nonsense without an equals sign", "SCAD_TICK_SECOND": "5"})
    assert [each.state for each in found] == ["fault", "fault"]
    assert "libpq cannot read it" in found[0].what
    assert "SCAD_TICK_SECONDS is meant?" in found[1].what


def test_what_belongs_to_others_is_let_be_and_defaults_can_be_used() -> None:
    assert load_settings(dict.fromkeys(NOT_OURS, "x") | {"PATH": "/bin"}) == Settings()
    assert "no setting; docs/operation.md" in refused({"SCAD_ZZZZZZZZZZ": "1"})


@pytest.mark.parametrize("name", sorted(BOUNDS))
@settings(max_examples=15)
@given(st.data())
def test_a_bounded_setting_is_taken_within_its_bounds_and_refused_beyond(
    name: str, data: st.DataObject
) -> None:
    least, most = BOUNDS[name]
    variable = f"SCAD_{name.upper()}"
    inside = data.draw(st.integers(int(least) + (least % 1 > 0), int(most)))
    assert getattr(load_settings({variable: str(inside)}), name) == inside
    outside = data.draw(st.sampled_from([int(least) - 1, int(most) + 1]))
    assert f"{variable}={outside}" in refused({variable: str(outside)}).replace(".0:", ":")


def test_what_is_written_twice_is_the_same() -> None:
    assert set(ROLES) == set(viewer.ROLES)
    assert webhook.SECRET_CHARACTERS_MIN == SECRET_CHARACTERS_MIN
