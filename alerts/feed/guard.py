"""What surrounds every request: security headers, a bound on the body, time taken."""

from __future__ import annotations

from time import perf_counter

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alerts.feed.metrics import FeedMetrics

# The largest thing anybody sends is a note of 500 characters.
BODY_MAX = 64 * 1024

# No script or style inside a page, nothing from elsewhere, no page around ours. Inline SVG is markup.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
# A year, as browsers' preload lists ask; only said on https, where it means something.
STRICT_TRANSPORT = "max-age=31536000"


class BodyTooLargeError(Exception):
    """The request's body is larger than BODY_MAX bytes."""


class Guard:
    """ASGI middleware; streams pass through it unbuffered."""

    def __init__(self, app: ASGIApp, metrics: FeedMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = perf_counter()
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > BODY_MAX:
                raise BodyTooLargeError
            return message

        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._set_headers(scope, message)
                route = getattr(scope.get("route"), "path", "other")
                self._metrics.requests.labels(scope["method"], route, message["status"]).observe(
                    perf_counter() - begin
                )
            await send(message)

        try:
            await self._app(scope, bounded, guarded)
        except BodyTooLargeError:
            if started:
                raise
            text = b'{"detail":"the body is larger than 64 KiB"}'
            await guarded(
                {
                    "type": "http.response.start",
                    "status": 413,
                    "headers": [(b"content-type", b"application/json"), (b"connection", b"close")],
                }
            )
            await send({"type": "http.response.body", "body": text})

    @staticmethod
    def _set_headers(scope: Scope, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in HEADERS.items():
            headers[name] = value
        if scope.get("scheme") == "https":
            headers["Strict-Transport-Security"] = STRICT_TRANSPORT
        if not scope["path"].startswith("/static/"):
            headers["Cache-Control"] = "no-store"  # names and values stay out of caches
