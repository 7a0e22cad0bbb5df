"""OpenID Connect: a person logs in at a provider (Keycloak, Pro Santé Connect) and gets an account that is here.

Authorization code with PKCE (RFC 7636), state and nonce. The provider is found by discovery; its ID token is
checked against its published keys: signature by a public key only, issuer, audience, times, nonce, and the
level of authentication (acr) where one is asked for. Nobody gets an account by logging in at the provider: an
administrator has made it before, and the claim that the settings name gives its login.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

# Signatures by a public key. Never `none`, never HS256: its key would be one that others know.
ALGORITHMS = ("RS256", "PS256", "ES256", "RS384", "PS384", "ES384", "RS512", "PS512", "ES512")
LEEWAY_S = 60  # two clocks that NTP keeps differ by less
DISCOVERY_S = 3600.0  # providers change keys by adding new ones: an unknown one is asked for before that
KEYS_AGAIN_S = 60.0  # at most one look for an unknown key a minute: anybody can send one
TIMEOUT_S = 10.0  # a person is waiting
ANSWER_MAX = 256 * 1024  # a provider's longest answer (keys) has some 10 kB


class OidcError(Exception):
    """The provider's answer cannot be taken; the message says why, for the log and never for the page."""


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """`claim`: which claim is the login of an account. `acr`: accepted levels of authentication; empty: any."""

    issuer: str
    client_id: str
    client_secret: str = ""
    claim: str = "preferred_username"
    acr: tuple[str, ...] = ()
    scope: str = "openid profile"


@dataclass(frozen=True, slots=True)
class Pending:
    """A log-in that has begun: what the browser keeps (in a cookie of its own) until it comes back."""

    state: str
    nonce: str
    verifier: str
    next: str

    def text(self) -> str:
        return json.dumps([self.state, self.nonce, self.verifier, self.next])

    @staticmethod
    def parse(text: str) -> Pending | None:
        """What text() wrote, or None."""
        try:
            parts = json.loads(text)
        except ValueError:
            return None
        if not isinstance(parts, list) or len(parts) != 4 or not all(isinstance(p, str) for p in parts):
            return None
        return Pending(*parts)


@dataclass(slots=True)
class Provider:
    """One provider, its discovery document and keys kept for DISCOVERY_S. `transport` is for tests."""

    settings: OidcSettings
    transport: httpx.AsyncBaseTransport | None = None
    _document: dict[str, Any] = field(default_factory=dict)
    _keys: dict[str, Any] = field(default_factory=dict)
    _read_s: float = 0.0
    _keys_s: float = 0.0

    @property
    def origin(self) -> str:
        """Where the provider's pages are, for the policy that lets the log-out go there."""
        parts = urlsplit(self.settings.issuer)
        return f"{parts.scheme}://{parts.netloc}"

    async def start(self, redirect_uri: str, next_: str, now: datetime) -> tuple[str, Pending]:
        """The address at the provider that the browser is sent to. Raises OidcError."""
        document = await self._discover(now)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        pending = Pending(state, nonce, verifier, next_)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(pending.verifier.encode()).digest()).rstrip(b"=")
        asked = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.settings.scope,
            "state": pending.state,
            "nonce": pending.nonce,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        if self.settings.acr:
            asked["acr_values"] = " ".join(self.settings.acr)
        return _with(document["authorization_endpoint"], asked), pending

    async def finish(
        self, pending: Pending, state: str, code: str, redirect_uri: str, now: datetime
    ) -> tuple[str, str]:
        """The login that the provider vouches for, and its ID token. Raises OidcError."""
        if not hmac.compare_digest(pending.state.encode(), state.encode()):
            raise OidcError("the answer belongs to another log-in (state)")
        document = await self._discover(now)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": pending.verifier,
            "client_id": self.settings.client_id,
        }
        secret = self.settings.client_secret
        auth = httpx.BasicAuth(self.settings.client_id, secret) if secret else None
        answer = await self._ask("POST", document["token_endpoint"], data=form, auth=auth)
        id_token = answer.get("id_token")
        if not isinstance(id_token, str):
            raise OidcError("the provider sent no ID token")
        claims = await self.claims(id_token, pending.nonce, now)
        value = claims.get(self.settings.claim)
        if value is None and isinstance(document.get("userinfo_endpoint"), str):
            value = await self._told(document["userinfo_endpoint"], answer, claims)
        if not isinstance(value, str) or not value:
            raise OidcError(f"the provider says no claim {self.settings.claim!r}")
        return value.strip().lower(), id_token

    async def claims(self, id_token: str, nonce: str, now: datetime) -> dict[str, Any]:
        """The claims of an ID token that is right in every respect. Raises OidcError that says in which not."""
        claims = await self._signed(id_token, now)
        settings, now_s = self.settings, now.timestamp()
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        expires, issued = claims.get("exp"), claims.get("iat")
        if claims.get("iss") != self._document["issuer"]:
            raise OidcError("the ID token is of another issuer")
        if settings.client_id not in audiences:
            raise OidcError("the ID token is for another client")
        if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != settings.client_id:
            raise OidcError("the ID token was issued to another client (azp)")
        if not isinstance(expires, (int, float)) or expires <= now_s - LEEWAY_S:
            raise OidcError("the ID token has expired")
        if not isinstance(issued, (int, float)) or issued > now_s + LEEWAY_S:
            raise OidcError("the ID token is from the future")
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise OidcError("the ID token names nobody (sub)")
        said = claims.get("nonce")
        if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
            raise OidcError("the ID token belongs to another log-in (nonce)")
        if settings.acr and claims.get("acr") not in settings.acr:
            raise OidcError(f"the level of authentication {claims.get('acr')!r} is not accepted")
        if settings.claim == "email" and claims.get("email_verified") is not True:
            raise OidcError("the provider has not verified the e-mail address")
        return claims

    async def logout_address(self, id_token: str, back: str, now: datetime) -> str | None:
        """Where the browser ends the provider's session, or None where the provider has no such place."""
        document = await self._discover(now)
        endpoint = document.get("end_session_endpoint")
        if not isinstance(endpoint, str):
            return None
        told = {"id_token_hint": id_token, "post_logout_redirect_uri": back}
        return _with(endpoint, told | {"client_id": self.settings.client_id})

    async def _signed(self, id_token: str, now: datetime) -> dict[str, Any]:
        document = await self._discover(now)
        said = document.get("id_token_signing_alg_values_supported", ["RS256"])
        algorithms = [name for name in ALGORITHMS if name in said]
        for attempt in (1, 2):
            try:
                keys = KeySet.import_key_set({"keys": self._keys["keys"]})
                return dict(jwt.decode(id_token, keys, algorithms=algorithms).claims)
            except (JoseError, ValueError, KeyError, TypeError) as error:
                waited = now.timestamp() - self._keys_s >= KEYS_AGAIN_S
                if attempt == 2 or not waited:  # a new key of the provider, perhaps
                    raise OidcError(f"the ID token's signature is not right: {error}") from None
                await self._read_keys(now)
        raise AssertionError("unreachable")

    async def _discover(self, now: datetime) -> dict[str, Any]:
        if self._document and 0 <= now.timestamp() - self._read_s < DISCOVERY_S:
            return self._document
        issuer = self.settings.issuer.rstrip("/")
        document = await self._ask("GET", f"{issuer}/.well-known/openid-configuration")
        if str(document.get("issuer", "")).rstrip("/") != issuer:
            raise OidcError(f"the document at {issuer} is of issuer {document.get('issuer')!r}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            address = document.get(name)
            if not isinstance(address, str) or urlsplit(address).scheme not in _schemes(issuer):
                raise OidcError(f"the provider's {name} is {address!r}")
        self._document = document
        self._read_s = now.timestamp()
        await self._read_keys(now)
        return document

    async def _read_keys(self, now: datetime) -> None:
        self._keys_s = now.timestamp()
        self._keys = await self._ask("GET", self._document["jwks_uri"])

    async def _told(self, endpoint: str, answer: dict[str, Any], claims: dict[str, Any]) -> Any:
        """The claim from the userinfo endpoint, which must speak of the same person (`sub`)."""
        bearer = {"Authorization": f"Bearer {answer.get('access_token', '')}"}
        told = await self._ask("GET", endpoint, headers=bearer)
        if told.get("sub") != claims["sub"]:
            raise OidcError("the userinfo is of another person")
        if self.settings.claim == "email" and told.get("email_verified") is not True:
            raise OidcError("the provider has not verified the e-mail address")
        return told.get(self.settings.claim)

    async def _ask(self, method: str, address: str, **more: Any) -> dict[str, Any]:
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_S, transport=self.transport) as client:
                answer = await client.request(method, address, **more)
        except httpx.HTTPError as error:
            raise OidcError(f"{address} does not answer: {error!r}") from None
        if answer.status_code != 200 or len(answer.content) > ANSWER_MAX:
            raise OidcError(f"{address} answered {answer.status_code}")
        try:
            said = answer.json()
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise OidcError(f"{address} did not answer with a JSON object")
        return said


def _schemes(issuer: str) -> tuple[str, ...]:
    """Plain http only where the provider itself has it: a test on one machine."""
    return ("https",) if issuer.startswith("https://") else ("http", "https")


def _with(address: str, values: dict[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(values)}"
