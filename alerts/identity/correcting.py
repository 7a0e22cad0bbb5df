"""A correction as words typed at a shell or in a form, checked. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from alerts.enrolment import Identity, ins_fault
from alerts.identity.store import IdentityError
from alerts.identity.vault import Traits, reliability_fault

# The INS's strict traits, and the INS: who changes one has to validate the identity anew.
STRICT = ("family_name", "given_names", "birth_date", "sex", "birth_place", "ins", "ins_oid")


def corrected(before: Traits, given: Mapping[str, str | None]) -> Traits:
    """The traits after a correction: what is None stays, what is empty goes. Raises IdentityError."""
    said = {name: value for name, value in given.items() if value is not None}
    after = msgspec.to_builtins(before) | {name: value or None for name, value in said.items()}
    if said.get("ins") == "":
        after["ins_oid"] = None
    if after.get("ins"):
        after["ins"] = str(after["ins"]).replace(" ", "").upper()
    strict = any(after.get(name) != msgspec.to_builtins(before).get(name) for name in STRICT)
    if strict and not said.get("reliability"):
        after["reliability"] = "PROV"
    after = {name: value for name, value in after.items() if value is not None}
    ins, oid = after.get("ins"), after.get("ins_oid")
    if (ins is None) != (oid is None):
        raise IdentityError("an INS and its OID go together: give both, or take the INS away", "ins_pair")
    fault = (ins_fault(str(ins)) if ins is not None else None) or reliability_fault(
        after.get("reliability", "PROV"), ins, oid
    )
    if fault is not None:
        validated = "VALI" in fault
        raise IdentityError(fault if validated else f"ins: {fault}", "validated" if validated else "ins")
    try:  # the enrolment file's own checks: lengths, patterns, known words
        plain = {name: value for name, value in after.items() if name not in ("ins", "ins_oid")}
        msgspec.convert(plain, Identity)
        return msgspec.convert(after, Traits)
    except msgspec.ValidationError as error:
        raise IdentityError(str(error), "trait") from None
