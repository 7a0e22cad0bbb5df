"""How people get in: what the settings say of providers and second factors."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from alerts.feed.oidc import OidcSettings, Provider
from alerts.feed.viewer import ROLES, Role
from scad.settings import Settings, refuse
from scad.settings_checks import access_faults


@dataclass(frozen=True, slots=True)
class Access:
    """`second_factor`: roles that must have one. `page_url`: where people open the page; empty: as asked."""

    provider: Provider | None = None
    second_factor: frozenset[Role] = frozenset()
    page_url: str = ""

    def address(self, request: Request, path: str) -> str:
        """A path of ours as a whole address, for a provider to come back to."""
        return (self.page_url or str(request.base_url)).rstrip("/") + path


def access_of(settings: Settings) -> Access:
    """What the settings say. Raises SettingsError that names the bad variable."""
    refuse(access_faults(settings))
    asked = _words(settings.second_factor)
    roles = frozenset(role for role in ROLES if role in asked)
    if not settings.oidc_issuer:
        return Access(None, roles, settings.page_url)
    provider = Provider(
        OidcSettings(
            issuer=settings.oidc_issuer,
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret,
            claim=settings.oidc_claim,
            acr=tuple(sorted(_words(settings.oidc_acr))),
            scope=settings.oidc_scope,
        )
    )
    return Access(provider, roles, settings.page_url)


def _words(text: str) -> set[str]:
    return {word.strip() for word in text.split(",") if word.strip()}
