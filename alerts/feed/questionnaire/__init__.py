"""The patient's tablet: its page with the daily questions, and what a nurse sees of the answers."""

from __future__ import annotations

from fastapi import APIRouter

from alerts.feed.questionnaire.sittings import sittings
from alerts.feed.questionnaire.tablet import tablet

questionnaire = APIRouter()
for part in (tablet, sittings):
    questionnaire.include_router(part)

__all__ = ["questionnaire"]
