"""Who is looking, and what that allows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

Role = Literal["nurse", "physician", "administrator", "engineer", "auditor", "caregiver"]
# Those that an administrator gives; a caregiver comes by a patient's invitation only (alerts.feed.caregiver).
ROLES: tuple[Role, ...] = ("nurse", "physician", "administrator", "engineer", "auditor")

# Who may change what becomes of an alert: those who answer for patients.
ACTING: frozenset[Role] = frozenset({"nurse", "physician"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """A logged-in person. `teams` are the care teams whose patients the person sees; an auditor without a
    team sees all of them, anybody else without a team none."""

    login: str
    display_name: str
    role: Role
    teams: tuple[str, ...]
    csrf_token: str = ""
    token_hash: bytes = b""
    expires_at: datetime | None = None
    glass: tuple[str, ...] = ()
    """Patients of other teams whom the person sees for an hour, having said why (alerts.audit.glass)."""
    read_only: bool = False
    """What is shown is somebody else's to act on."""

    @property
    def sees_all(self) -> bool:
        return self.role == "auditor" and not self.teams

    @property
    def may_act(self) -> bool:
        return self.role in ACTING and not self.read_only

    def sees(self, care_team: str | None) -> bool:
        return self.sees_all or care_team in self.teams

    def before(self, care_team: str | None) -> Viewer:
        """The same person in front of a patient of this team: of another's (through broken glass) only to read."""
        other = self.role in ACTING and not self.sees(care_team)
        return replace(self, read_only=True) if other else self
