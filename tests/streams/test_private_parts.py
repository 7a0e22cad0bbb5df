"""Which files lean on private parts of Faust and aiokafka: an upgrade has to look at these, and at no other."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOREIGN = ("faust", "aiokafka", "mode")
PYTHONS = {"_abc_impl"}  # of every abstract class
LEAN_ON_THEM = {
    "streams/transport.py",  # Faust's consumer, producer and transport
    "streams/membership.py",  # the thread of Faust's consumer, and aiokafka's group coordinator
    "streams/tables.py",  # the table's store
    "streams/access.py",  # aiokafka's administration has no call for many access lists at once,
    "scad/checks/kafka.py",  # nor for a group's members and what they were given,
    "scad/checks/kafka_accounts.py",  # nor for the accounts
    "scad/kafka_connections.py",  # aiokafka's connections, waited for until they are closed
}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def root_name(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def imported(tree: ast.Module) -> set[str]:
    """Names in a module that stand for something of Faust's or aiokafka's."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FOREIGN:
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.asname or a.name for a in node.names if a.name.split(".")[0] in FOREIGN}
    return names


def leanings(source: str, module: str) -> Iterator[str]:
    """What of theirs a module touches, overrides or replaces that is not meant for it."""
    tree = ast.parse(source)
    theirs = imported(tree)
    ours = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    ours |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    ours |= {
        n.target.id for n in ast.walk(tree) if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and root_name(node) in theirs:
            yield f"{root_name(node)}.{node.attr} replaced"
        if isinstance(node, ast.Attribute) and private(node.attr):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if owner in ("self", "cls") and node.attr in ours:
                continue
            if owner not in ("self", "cls") or heirs(tree, theirs):
                yield f"{node.attr} touched"
    for name in heirs(tree, theirs):
        heir = getattr(importlib.import_module(module), name)
        above = [base for base in heir.__mro__[1:] if base.__module__.split(".")[0] in FOREIGN]
        for attribute in vars(heir):
            if (
                private(attribute)
                and attribute not in PYTHONS
                and any(attribute in vars(base) for base in above)
            ):
                yield f"{name}.{attribute} overridden"


def heirs(tree: ast.Module, theirs: set[str]) -> list[str]:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return [node.name for node in classes if any(root_name(base) in theirs for base in node.bases)]


def uses_them(source: str) -> bool:
    """Faust's and aiokafka's objects come by import, or through the two modules that make an application of them."""
    return any(f"{how} {what}" in source for how in ("from", "import") for what in ("faust", "aiokafka")) or (
        "streams.transport" in source or "streams.agents" in source
    )


def test_private_parts_of_faust_and_aiokafka_are_touched_in_these_files_only() -> None:
    found: dict[str, set[str]] = {}
    for folder in ("streams", "alerts", "devices", "scad"):
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text()
            name = path.relative_to(ROOT).as_posix()
            if uses_them(source):
                found[name] = set(leanings(source, name.removesuffix(".py").replace("/", ".")))
    assert {name: what for name, what in found.items() if what and name not in LEAN_ON_THEM} == {}
    assert {name for name, what in found.items() if what} == LEAN_ON_THEM


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("app = make()\napp._crashed.wait()", "_crashed touched"),
        ("from aiokafka.conn import Connection\nConnection.close = print", "Connection.close replaced"),
    ],
)
def test_a_file_that_leans_on_them_is_noticed(source: str, what: str) -> None:
    assert list(leanings(source, "none")) == [what]


def test_a_method_of_theirs_that_a_class_of_ours_replaces_is_noticed() -> None:
    source = (ROOT / "streams/tables.py").read_text()
    assert "TokenTable._new_store overridden" in set(leanings(source, "streams.tables"))
