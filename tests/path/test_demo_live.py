"""`scad demo`: from one command to an alert in the queue, and from Ctrl-C to nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from scad.services import HOST, Mosquitto, Postgres, Tansu, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(840)]

START_SECONDS = 240.0
ALERT_SECONDS = 240.0
STOP_SECONDS = 120.0


class Demo:
    """The command in a folder of its own for what it makes, its output in a file."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder / "temporary"
        self.folder.mkdir()
        self.folder.chmod(0o711)  # PostgreSQL runs as nobody where the tests run as root
        self._output = folder / "output"
        command = ["demo", "--patients", "8", "--minutes", "0.5", "--seed", "7", "--port", str(port)]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scad", *command],
                env={**os.environ, "TMPDIR": str(self.folder)},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._output.read_text()

    def until(self, reached: Callable[[], object], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            assert self.process.poll() is None, f"the demo has ended:\n{self.said}"
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}\n{self.said}"
            time.sleep(0.1)

    def family(self) -> list[int]:
        """Every living process that works in the demo's folder, whoever its parent is now."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                place = f"{(entry / 'cwd').readlink()} {(entry / 'cmdline').read_bytes()!r}"
            except OSError:
                continue  # it has ended meanwhile
            if str(self.folder) in place:
                found.append(int(entry.name))
        return found


@pytest.fixture
def demo(service_folder: Path, mosquitto: Mosquitto, postgres: Postgres, tansu: Tansu) -> Iterator[Demo]:
    """The fixtures of the services say why when one is missing; the demo starts its own."""
    running = Demo(service_folder, free_port())
    try:
        yield running
    finally:
        for pid in {running.process.pid, *running.family()}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        running.process.wait()


def test_the_demo_shows_an_alert_and_ctrl_c_leaves_no_process_and_no_folder(demo: Demo) -> None:
    login = re.compile(r"the page +(http://\S+)\n +log in as +(\S+) +password +(\S+)")
    demo.until(lambda: login.search(demo.said), "the page's address and a login", START_SECONDS)
    found = login.search(demo.said)
    assert found is not None
    address, user, password = found.groups()
    assert address.startswith(f"http://{HOST}:")
    with httpx.Client(base_url=address, timeout=30) as client:
        assert client.post("/login", data={"user": user, "password": password}).status_code == 303
        demo.until(lambda: client.get("/api/queue").json()["clinical_total"], "an alert", ALERT_SECONDS)
        assert client.get("/").status_code == 200
        demo.until(lambda: "would tell " in demo.said, "a message to somebody on call", ALERT_SECONDS)
    assert len(demo.family()) >= 9, (
        "three services, bridge, worker, feed, escalation, fleet and synthetic reading"
    )

    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(STOP_SECONDS) == 0, demo.said
    assert demo.said.rstrip().endswith("nothing is left behind")
    assert demo.family() == []
    assert list(demo.folder.iterdir()) == []
