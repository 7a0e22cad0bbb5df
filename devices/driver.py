"""One thread that moves the bytes of any number of firmware clients.

The MQTT library's own loop is a thread and a select() per client, and select() ends at file descriptor 1024:
some 300 devices. Here one epoll serves hundreds. Connecting blocks this thread until TCP answers; that holds
up nobody, because all devices of a driver share one broker.
"""

from __future__ import annotations

import os
import random
import selectors
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import paho.mqtt.client as mqtt
import structlog

from devices.firmware import Firmware

CONNECT_TIMEOUT_S = 5.0
RETRY_FIRST_S = 0.5
RETRY_MAX_S = 30.0
"""A broker that comes back finds its devices within half a minute, and never all in the same second."""
TURN_S = 6.0
"""Two devices with one serial put each other off the line. Each waits half of this at least before it comes back, so
that the other has the time to send and to hear of it; else neither would ever get a receipt."""
CONNECTS_PER_ROUND = 20
"""Connections opened between two looks at the sockets that are open already."""
TICK_S = 0.25
STOP_WITHIN_S = 5.0
"""How long a clean stop waits for the broker to take the last status messages."""

_log = structlog.get_logger("driver")


class _Line:
    """When a client may connect again, and how long it then waits."""

    def __init__(self) -> None:
        self.due_s = 0.0
        self.wait_s = RETRY_FIRST_S
        self.opening = False


class Driver:
    """Runs clients against one broker. Use as a context manager, or start() and stop()."""

    def __init__(self, host: str, port: int, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.host = host
        self.port = port
        self.error = ""
        """Why the broker cannot be reached, in words; empty when it can."""
        self._now_s = monotonic_s
        self._selector = selectors.DefaultSelector()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._selector.register(self._reader, selectors.EVENT_READ)
        self._lock = threading.Lock()  # guards the four below, which other threads use
        self._closed = False
        self._new: list[Firmware] = []
        self._calls: list[Callable[[], None]] = []
        self._dirty: set[Firmware] = set()
        self._lines: dict[Firmware, _Line] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="devices", daemon=True)
        self._jitter = random.Random(0)  # noqa: S311 - spreads reconnects, hides nothing

    def __enter__(self) -> Driver:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- called from any thread ---

    def start(self) -> None:
        self._thread.start()

    def add(self, firmware: Firmware) -> None:
        """Connect a client and keep it connected until stop()."""
        firmware.wake = lambda: self._mark_dirty(firmware)
        with self._lock:
            self._new.append(firmware)
        self._ring()

    def call(self, function: Callable[[], None]) -> None:
        """Run something in the thread that owns the clients."""
        with self._lock:
            self._calls.append(function)
        self._ring()

    def stop(self) -> None:
        """Say *offline* for every client, disconnect, and end the thread. May be called twice."""
        self._stopping.set()
        self._ring()
        if self._thread.is_alive():
            self._thread.join()

    def _mark_dirty(self, firmware: Firmware) -> None:
        with self._lock:
            fresh = firmware not in self._dirty
            self._dirty.add(firmware)
        if fresh:
            self._ring()

    def _ring(self) -> None:
        with self._lock:
            if self._closed:
                return
            try:
                os.write(self._writer, b"!")
            except BlockingIOError:
                return  # a full pipe wakes as well

    # --- the thread ---

    def _run(self) -> None:
        next_tick_s = self._now_s()
        try:
            while not self._stopping.is_set():
                self._serve(max(0.0, next_tick_s - self._now_s()))
                self._take_orders()
                now_s = self._now_s()
                if now_s >= next_tick_s:
                    next_tick_s = now_s + TICK_S
                    self._tick(now_s)
            self._say_goodbye()
        finally:
            with self._lock:
                self._closed = True
                self._selector.close()
                os.close(self._reader)
                os.close(self._writer)

    def _serve(self, timeout_s: float) -> None:
        for key, events in self._selector.select(timeout_s):
            if key.data is None:
                self._drain()
                continue
            firmware = cast(Firmware, key.data)
            try:
                self._move(firmware.client, events)
            except Exception as error:
                # One device's trouble (its disk, a packet that nobody understands) must not stop the others.
                firmware.error = f"{type(error).__name__}: {error}"
                _log.exception("client failed", device=firmware.device)

    def _move(self, client: mqtt.Client, events: int) -> None:
        if events & selectors.EVENT_READ:
            client.loop_read()
            while (sock := client.socket()) is not None and _undelivered(sock):
                client.loop_read()  # TLS may have decrypted more than epoll can know
        if events & selectors.EVENT_WRITE:
            client.loop_write()

    def _drain(self) -> None:
        try:
            while os.read(self._reader, 4096):
                pass
        except BlockingIOError:
            return

    def _take_orders(self) -> None:
        with self._lock:
            new, self._new = self._new, []
            calls, self._calls = self._calls, []
            dirty, self._dirty = self._dirty, set()
        for firmware in new:
            self._adopt(firmware)
        for function in calls:
            function()
        for firmware in dirty:
            firmware.pump()

    def _adopt(self, firmware: Firmware) -> None:
        client = firmware.client
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.on_socket_open = lambda _c, _u, sock: self._watch(firmware, sock)
        client.on_socket_close = lambda _c, _u, sock: self._unwatch(sock)
        client.on_socket_register_write = lambda _c, _u, sock: self._watch_write(firmware, sock, True)
        client.on_socket_unregister_write = lambda _c, _u, sock: self._watch_write(firmware, sock, False)
        self._lines[firmware] = _Line()

    def _watch(self, firmware: Firmware, sock: Any) -> None:
        self._selector.register(sock, selectors.EVENT_READ, firmware)

    def _unwatch(self, sock: Any) -> None:
        try:
            self._selector.unregister(sock)
        except (KeyError, ValueError):
            return  # closed before it was open

    def _watch_write(self, firmware: Firmware, sock: Any, write: bool) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0)
        try:
            self._selector.modify(sock, events, firmware)
        except (KeyError, ValueError):
            return  # the library may say so after it has closed the socket

    def _tick(self, now_s: float) -> None:
        opened = 0
        for firmware, line in self._lines.items():
            client = firmware.client
            if client.socket() is not None:
                client.loop_misc()
                firmware.tick(now_s)
                if firmware.online:
                    line.wait_s, line.opening = RETRY_FIRST_S, False
                continue
            if firmware.taken_over:
                firmware.taken_over = line.opening = False
                line.due_s = now_s + TURN_S * self._jitter.uniform(0.5, 1.0)
            elif line.opening:  # it had a socket and lost it before the broker said yes
                self._wait(line, now_s)
            elif now_s >= line.due_s and opened < CONNECTS_PER_ROUND:
                opened += 1
                if not self._connect(firmware, line):
                    self._wait(line, now_s)
                    opened = CONNECTS_PER_ROUND  # one broker for all: the others would fail as well

    def _connect(self, firmware: Firmware, line: _Line) -> bool:
        try:
            firmware.connect(self.host, self.port)
        except OSError as error:
            self.error = f"the broker at {self.host}:{self.port} cannot be reached: {error}"
            return False
        self.error = ""
        line.opening = True
        return True

    def _wait(self, line: _Line, now_s: float) -> None:
        line.opening = False
        line.due_s = now_s + line.wait_s * self._jitter.uniform(0.5, 1.0)
        line.wait_s = min(2 * line.wait_s, RETRY_MAX_S)

    def _say_goodbye(self) -> None:
        """Publish *offline*, let the broker take it, and disconnect."""
        online = [firmware for firmware in self._lines if firmware.online]
        for firmware in online:
            firmware.publish_status("offline")
            firmware.client.disconnect()
            firmware.online = False
        deadline_s = self._now_s() + STOP_WITHIN_S
        while self._now_s() < deadline_s and any(f.client.socket() is not None for f in online):
            for firmware in online:
                if firmware.client.socket() is not None and not firmware.client.want_write():
                    firmware.client.loop_misc()
            self._serve(0.05)
        for firmware in self._lines:
            if firmware.client.socket() is not None:
                _log.warning("the broker did not take the last status", device=firmware.device)


def _undelivered(sock: Any) -> bool:
    pending = getattr(sock, "pending", None)
    return pending is not None and cast(int, pending()) > 0
