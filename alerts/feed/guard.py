"""What surrounds every request: security headers, a bound on the body, time taken."""

from __future__ import annotations

from time import perf_counter

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alerts.feed.metrics import FeedMetrics

# The largest thing anybody sends is a note of 500 characters.
BODY_MAX = 64 * 1024
TOO_LARGE = "the body is larger than 64 KiB"

# No script or style inside a page, nothing from elsewhere, no page around ours. Inline SVG is markup.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action {form_action}; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
# A year, as browsers' preload lists ask; only said on https, where it means something.
STRICT_TRANSPORT = "max-age=31536000"


class Guard:
    """ASGI middleware; streams pass through it unbuffered."""

    def __init__(self, app: ASGIApp, metrics: FeedMetrics, form_action: str = "'self'") -> None:
        self._app = app
        self._metrics = metrics
        policy = CONTENT_SECURITY_POLICY.format(form_action=form_action)
        self._headers = {"Content-Security-Policy": policy, **HEADERS}

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
                raise HTTPException(413, TOO_LARGE)  # FastAPI hands it on to the error handlers
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._set_headers(scope, message)
                route = getattr(scope.get("route"), "path", "other")
                self._metrics.requests.labels(scope["method"], route, message["status"]).observe(
                    perf_counter() - begin
                )
            await send(message)

        app = _too_large if _announced(scope) > BODY_MAX else self._app
        await app(scope, bounded, guarded)

    def _set_headers(self, scope: Scope, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in self._headers.items():
            headers[name] = value
        if scope.get("scheme") == "https":
            headers["Strict-Transport-Security"] = STRICT_TRANSPORT
        if not scope["path"].startswith("/static/"):
            headers["Cache-Control"] = "no-store"  # names and values stay out of caches


_too_large = JSONResponse({"detail": TOO_LARGE}, 413, headers={"Connection": "close"})


def _announced(scope: Scope) -> int:
    """The length of the body that the request announces; 0 where it does not (then it is counted)."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    return int(length) if length.isdigit() else 0
