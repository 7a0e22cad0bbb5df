"""A small OpenID Connect provider on a real port: signs what the test tells it to, with a key of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "scad", "a secret of the client"


class Provider:
    """Claims and keys may be bent between the steps of a log-in; `asked` is what the browser came with."""

    def __init__(self, now_s: int) -> None:
        self.now_s = now_s
        self.key = RSAKey.generate_key(2048, {"kid": "one"})
        self.published = [self.key]
        self.straighten()
        self.document: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.key_reads = 0
        self.token_forms: list[dict[str, str]] = []
        self.issuer = ""

    def straighten(self) -> None:
        """Nothing is bent any more."""
        self.signing_key: Any = self.key
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "one"}
        self.bent: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {"sub": "s-1"}

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/logout",
            "id_token_signing_alg_values_supported": ["RS256", "none", "HS256"],
            **self.document,
        }

    def authorize(self, query: dict[str, str]) -> str:
        """The person has logged in: where the browser is sent."""
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        self.token_forms.append(form)
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        basic = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if asked is None or challenge != asked["code_challenge"] or authorization != basic:
            return 400, {"error": "invalid_grant"}
        if form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        return 200, {"id_token": self.id_token(asked["nonce"]), "access_token": "a", "token_type": "Bearer"}

    def id_token(self, nonce: str) -> str:
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "s-1",
            "exp": self.now_s + 300,
            "iat": self.now_s,
            "nonce": nonce,
            "preferred_username": "medecin",
            **self.bent,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.header["alg"] == "none":
            return ".".join(_base64(json.dumps(part).encode()) for part in (self.header, claims)) + "."
        if self.header["alg"] == "HS256":  # the old trick: the published key is the secret
            text = ".".join(_base64(json.dumps(part).encode()) for part in (self.header, claims))
            digest = hmac.digest(self.key.as_pem(private=False), text.encode(), "sha256")
            return f"{text}.{_base64(digest)}"
        return str(jwt.encode(self.header, claims, self.signing_key, algorithms=[self.header["alg"]]))

    def change_key(self, publish: bool = True) -> None:
        self.signing_key = RSAKey.generate_key(2048, {"kid": "two"})
        self.header = {"alg": "RS256", "kid": "two"}
        if publish:
            self.published.append(self.signing_key)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def provider(now_s: int) -> Iterator[Provider]:
    """The provider, until the end of the block."""
    found = Provider(now_s)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path == "/authorize":
                self.send_response(302)
                self.send_header("Location", found.authorize(query))
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif parts.path == "/keys":
                found.key_reads += 1
                self._say(200, {"keys": [key.as_dict(private=False) for key in found.published]})
            elif parts.path == "/userinfo":
                self._say(200, found.userinfo)
            else:
                self._say(200, found.discovery())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._say(*found.token(form, self.headers.get("Authorization", "")))

        def _say(self, status: int, what: dict[str, Any]) -> None:
            body = json.dumps(what).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    found.issuer = f"http://127.0.0.1:{server.server_port}"
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
