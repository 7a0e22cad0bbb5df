"""What the tests seal identities with: the key of tests/conftest.py."""

from __future__ import annotations

import os

from alerts.identity.vault import Vault, vault_of


def vault_of_tests() -> Vault:
    vault = vault_of(os.environ["SCAD_IDENTITY_KEYS"])
    assert vault is not None
    return vault
