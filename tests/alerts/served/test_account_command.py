"""`scad account add`: a person who may log in, made from the shell."""

from __future__ import annotations

from pathlib import Path

import pytest
from feed_server import RunningFeed
from typer.testing import CliRunner

from scad.main import build_app


@pytest.mark.parametrize("by_file", [True, False])
def test_a_person_added_from_the_shell_may_log_in(
    feed: RunningFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_file: bool
):
    monkeypatch.setenv("SCAD_DATABASE", feed.feed.database.dsn)
    password = "correct horse battery"
    (tmp_path / "password").write_text(f"{password}\n")
    source = str(tmp_path / "password") if by_file else "-"
    command = [
        "account",
        "add",
        "nouvelle",
        "--role",
        "nurse",
        "--care-team",
        "caen",
        "--password-file",
        source,
    ]
    done = CliRunner().invoke(build_app(), command, input=f"{password}\n")
    assert done.exit_code == 0, done.output
    assert "nouvelle may log in as nurse of caen" in done.output
    assert feed.client("nouvelle", password).get("/api/session").json()["care_teams"] == ["caen"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x", "--role", "king"], "not one of nurse"),
        (["x", "--role", "nurse"], "needs a care team"),
        (["x", "--role", "nurse", "--care-team", "nowhere"], "no care team 'nowhere'"),
    ],
)
def test_a_person_who_cannot_be_is_refused_with_the_reason(
    feed: RunningFeed, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    monkeypatch.setenv("SCAD_DATABASE", feed.feed.database.dsn)
    command = ["account", "add", *arguments, "--password-file", "-"]
    done = CliRunner().invoke(build_app(), command, input="correct horse battery\n")
    assert done.exit_code == 1
    assert message in done.output


def test_a_second_factor_is_reset_from_the_shell(feed: RunningFeed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCAD_DATABASE", feed.feed.database.dsn)
    feed.conn.execute("insert into scad.second_factor values ('medecin', 'A', now(), now(), 0)")
    command = ["account", "second-factor", "reset"]
    done = CliRunner().invoke(build_app(), [*command, "medecin"])
    assert (done.exit_code, done.output) == (0, "medecin has no second factor any more\n")
    assert feed.conn.execute("select count(*) from scad.second_factor").fetchone() == (0,)
    again = CliRunner().invoke(build_app(), [*command, "medecin"])
    assert again.output == "medecin had no second factor\n"
    nobody = CliRunner().invoke(build_app(), [*command, "nobody"])
    assert (nobody.exit_code, "no account 'nobody'" in nobody.output) == (1, True)
