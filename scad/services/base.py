"""A local service as a child process: start, ask whether it is there, stop, kill, pause, restart.

Nothing is left behind when the parent dies, however it dies: each child gets the parent's death as
SIGKILL from the kernel (PR_SET_PDEATHSIG, set by setpriv). Every service here survives a kill -9 with what
it had acknowledged, so nothing gentler is needed. The children are in sessions of their own: a Ctrl-C in
the terminal reaches the parent, which stops them in order.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from scad.services.places import MissingServiceError, ServiceError, find_program, open_to_others

HOST = "127.0.0.1"
PORTS = range(15_000, 32_000)
"""Below the kernel's range for outgoing connections (from 32768): while a service is down between kill and
restart, nobody's outgoing connection can take its port."""
DRAWN = random.SystemRandom()
"""Not the module's generator: a test that seeds it would have every process draw the same ports."""
POLL_SECONDS = 0.05
START_TRIES = 8
"""A start may fail while the killed predecessor still holds a lock, a shared segment or the port."""
RETRY_SECONDS = 0.5
LOG_TAIL_LINES = 12
NOBODY = ("--reuid=nobody", "--regid=nogroup", "--clear-groups")

_spawner: ThreadPoolExecutor | None = None


def _spawn_thread() -> ThreadPoolExecutor:
    """The one thread that starts children. The kernel takes the death of the *thread* that forked for the
    parent's death, so a child started from a short-lived thread would be killed when that thread ends."""
    global _spawner
    if _spawner is None:
        _spawner = ThreadPoolExecutor(1, "spawn services")
    return _spawner


def _forget_spawner() -> None:
    global _spawner
    _spawner = None


os.register_at_fork(after_in_child=_forget_spawner)


def free_port(taken: Sequence[int] = ()) -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now."""
    for _ in range(1_000):
        port = DRAWN.choice(PORTS)
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        return port
    raise ServiceError(f"no free port on {HOST} between {PORTS.start} and {PORTS.stop}")


def guarded(command: Sequence[str], nobody: bool = False) -> list[str]:
    """The command so that it dies with its parent; with `nobody` and as root, as the user nobody."""
    setpriv = find_program("setpriv")
    if setpriv is None:
        raise MissingServiceError("setpriv", "install the package util-linux")
    user = NOBODY if nobody and os.geteuid() == 0 else ()
    return [str(setpriv), "--pdeathsig=KILL", *user, *command]


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until the condition holds. Raises ServiceError that says `what` was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceError(f"waited {seconds:g} s for {what}")
        time.sleep(POLL_SECONDS)


class Service(ABC):
    """Base of all runners. `folder` holds configuration, data and log; the same folder starts again with
    the data it has. Ports are chosen once per object and kept over restarts, so that clients come back."""

    name: str
    ready_seconds: ClassVar[float] = 60.0
    stop_seconds: ClassVar[float] = 20.0
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    as_nobody: ClassVar[bool] = False
    """The program refuses root: root runs it as nobody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._process: subprocess.Popen[bytes] | None = None
        self._paused: list[int] = []

    # What a runner says about its service

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments."""

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def prepare(self) -> None:  # noqa: B027 - some services need nothing
        """Write configuration and make data folders; called before every start."""

    @abstractmethod
    def answers(self) -> bool:
        """Ask the service itself whether it does its work now."""

    def started(self) -> None:  # noqa: B027 - some services need nothing
        """Called after every start, once the service answers."""

    @property
    @abstractmethod
    def version(self) -> str:
        """As the program itself says it."""

    # What a user of a runner calls

    @property
    def log_path(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start and wait until the service answers. Raises ServiceError with the end of its log."""
        if self.running:
            return self
        self._make_folder()
        self.prepare()
        deadline = time.monotonic() + self.ready_seconds
        for tries_left in reversed(range(START_TRIES)):
            self._spawn()
            try:
                if self._ready_before(deadline):
                    self.started()
                    return self
            except BaseException:
                self.kill()
                raise
            if not tries_left or time.monotonic() + RETRY_SECONDS > deadline:
                break
            time.sleep(RETRY_SECONDS)
        alive = self.running
        self.kill()
        problem = (
            f"does not answer after {self.ready_seconds:g} s" if alive else "ends as soon as it is started"
        )
        raise ServiceError(f"{self.name} {problem}; its log {self.log_path} ends with:\n{self.log_tail()}")

    def launch(self) -> Self:
        """Start and wait for nothing, as a supervisor does: what it needs may be away itself."""
        if not self.running:
            self._make_folder()
            self.prepare()
            self._spawn()
        return self

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.as_nobody and os.geteuid() == 0 and not open_to_others(self.folder):
            raise ServiceError(
                f"{self.name} refuses to run as root, and the user nobody cannot reach {self.folder}: "
                "choose a folder whose parents all have mode o+x"
            )

    def wait_ready(self, seconds: float | None = None) -> None:
        """Wait until the service answers. Raises ServiceError."""
        wait_until(self.answers, self.ready_seconds if seconds is None else seconds, f"{self.name} to answer")

    def stop(self) -> None:
        """Stop in order, by force after `stop_seconds`. No error when it does not run."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self.resume()
            process.send_signal(self.stop_signal)
            try:
                process.wait(self.stop_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """kill -9, and wait until the kernel has taken it away."""
        if self._process is None:
            return
        if self._process.poll() is None:
            for pid in self._family():
                _signal(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        self._paused = []

    def pause(self) -> None:
        """Stop the service and its children in their tracks (SIGSTOP), sockets open: a hung machine."""
        if self.running:
            self._paused = self._family()
            for pid in self._paused:
                _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in reversed(self._paused):
            _signal(pid, signal.SIGCONT)
        self._paused = []

    def restart(self) -> Self:
        self.stop()
        return self.start()

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return "(no log)"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # How it is done

    def _spawn(self) -> None:
        command = guarded(self.command(), self.as_nobody)
        with self.log_path.open("ab") as log:
            self._process = (
                _spawn_thread()
                .submit(
                    subprocess.Popen,
                    command,
                    cwd=self.folder,
                    env=dict(self.environment()),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                .result()
            )

    def _ready_before(self, deadline: float) -> bool:
        """Whether the service answered before the deadline and while its process lived."""
        while time.monotonic() < deadline:
            if not self.running:
                return False
            # the second look: another's service may answer on a port that was taken in between
            if self.answers() and self.running:
                return True
            time.sleep(POLL_SECONDS)
        return False

    def _family(self) -> list[int]:
        """The process and its descendants, parents first. PostgreSQL's have sessions of their own, so a
        process group does not hold them."""
        if self._process is None:
            return []
        family = [self._process.pid]
        children: dict[int, list[int]] = {}
        for pid, parent in _parents():
            children.setdefault(parent, []).append(pid)
        for pid in family:  # grows while it is walked
            family.extend(children.get(pid, ()))
        return family


def _parents() -> Iterator[tuple[int, int]]:
    """(pid, pid of its parent) of every process of the machine."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # the name in parentheses may hold anything; what follows its last parenthesis does not
            yield int(folder.name), int((folder / "stat").read_text().rpartition(")")[2].split()[1])


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class Program(Service):
    """Any program of ours or others as a service: a bridge, a worker, a feed.

    Children of its own have to end with it: the parent's death reaches the program itself only.
    `ready` is asked until it says yes; without it the program counts as ready once it runs.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        ready: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(folder)
        self.name = name
        self._command = list(command)
        self._environment = {**os.environ, **(environment or {})}
        self._ready = ready

    def command(self) -> list[str]:
        return self._command

    def environment(self) -> Mapping[str, str]:
        return self._environment

    def answers(self) -> bool:
        return self.running if self._ready is None else self._ready()

    @property
    def version(self) -> str:
        return self._command[0]
