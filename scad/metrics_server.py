"""`/metrics`, `/health/live` and `/health/ready` of the processes that have no HTTP of their own.

It runs on the process's event loop, so that an answer also says that the loop turns. It serves GET only,
one request a connection, and no data of patients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

log = structlog.get_logger()

Ready = Callable[[], str]
"""Why the process cannot do its work now; empty when it can."""

REQUEST_SECONDS = 5.0  # a client that says nothing is let go
HEAD_BYTES_MAX = 8_192  # more than any scraper sends


class MetricsServer:
    """`ready` is asked at each request to /health/ready; `alive` likewise for /health/live."""

    def __init__(self, host: str, port: int, ready: Ready, alive: Ready = lambda: "") -> None:
        self._host = host
        self._wanted_port = port
        self._checks = {"/health/ready": ready, "/health/live": alive}
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        if self._server is None:
            return self._wanted_port
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(
            self._serve, self._host, self._wanted_port, limit=HEAD_BYTES_MAX
        )
        log.info("metrics.listening", host=self._host, port=self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = self._answer(head.split(b"\r\n", 1)[0].decode("latin-1"))
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                    "Cache-Control: no-store\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _answer(self, request: str) -> tuple[str, str, bytes]:
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method != "GET":
            return "405 Method Not Allowed", "text/plain", b"GET only\n"
        if path == "/metrics":
            return "200 OK", CONTENT_TYPE_LATEST, generate_latest()
        check = self._checks.get(path)
        if check is None:
            return "404 Not Found", "text/plain", b"/metrics, /health/live, /health/ready\n"
        reason = check()
        if reason:
            return "503 Service Unavailable", "text/plain; charset=utf-8", f"{reason}\n".encode()
        return "200 OK", "text/plain", b"ok\n"
