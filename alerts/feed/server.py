"""Runs the application: uvicorn, stopping cleanly although browsers keep their streams open."""

from __future__ import annotations

import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

# Seconds that requests have to finish when the process is told to stop; streams end at once.
GRACE_S = 3
# The address a proxy says is only believed from the same machine or the container's network.
TRUSTED_PROXIES = "127.0.0.1,::1"


class Server(uvicorn.Server):
    """Ends the event streams first: uvicorn waits for open answers, and those never finish by themselves."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Being told to stop is no failure: unlike uvicorn's, the signal is not raised again at the end."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = self.config.app
        if isinstance(app, FastAPI):
            app.state.feed.hub.close()
        await super().shutdown(sockets)


def make_server(app: FastAPI, host: str, port: int, trusted_proxies: str = TRUSTED_PROXIES) -> Server:
    """A server on host:port that logs through structlog's handlers and says nothing per request."""
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            proxy_headers=True,
            forwarded_allow_ips=trusted_proxies,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
