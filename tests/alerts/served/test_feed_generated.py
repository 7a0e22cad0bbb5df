"""The API's own description as a source of requests: nothing that fits it, or nearly, makes a 500, and every
answer is one that the description names."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis
from feed_server import RunningFeed, csrf_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from alerts.feed.app import create_app

DOCUMENT = create_app("").openapi()
OPERATIONS = [(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods]
EXAMPLES = 25  # an operation; some ten operations take half a minute with a real server and database
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_every_operation_is_described():
    for method, path in OPERATIONS:
        operation = DOCUMENT["paths"][path][method]
        assert operation.get("description"), (method, path)
        assert {"200", "401", "403", "429", "503"} <= set(operation["responses"]), (method, path)
        if "{" in path:
            assert {"404", "422"} <= set(operation["responses"]), (method, path)
        names = [parameter["name"] for parameter in operation["parameters"]]
        assert ("X-CSRF-Token" in names) == (method == "post")
        assert operation["security"] == [{"APIKeyCookie": []}]


# schemathesis draws with `random` inside its strategies, which Hypothesis does not like; the draws do no harm
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_generated_request_makes_a_server_error(ward: RunningFeed, mode: GenerationMode):
    client = ward.client("infirmiere")
    session = requests.Session()
    session.cookies.set("scad_session", client.cookies["scad_session"])
    headers = {"X-CSRF-Token": csrf_of(client)}
    ward.feed.requests.most = 10**6
    known = {
        name: [str(row[0]) for row in ward.conn.execute(f"select {name} from scad.alert")]
        for name in ("patient", "alert")
    }
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    seen = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        seen.add((operation.method.lower(), operation.path))

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
        def run(case: Any, data: st.DataObject) -> None:
            # half of the requests are about something that is there: the others end at 404
            for name, values in known.items():
                if name in (case.path_parameters or {}) and data.draw(st.booleans()):
                    case.path_parameters[name] = data.draw(st.sampled_from(values))
            ask(case, session, ward.url, headers)

        run()
    assert seen == set(OPERATIONS)
    session.close()


def ask(case: Any, session: requests.Session, url: str, headers: dict[str, str]) -> None:
    if case.operation.path == "/api/stream":  # an answer without an end: only its head is looked at
        told = case.as_transport_kwargs(base_url=url, headers=headers)
        told.pop("cookies", None)
        with session.request(**told, stream=True, timeout=10) as answer:
            assert str(answer.status_code) in case.operation.definition.raw["responses"]
        return
    case.headers.update(headers)
    case.cookies.clear()
    answer = case.call(base_url=url, session=session, timeout=30)
    # what is no request of HTTP at all (a method, a path that no route fits) is answered before any operation
    if answer.status_code not in (404, 405):
        case.validate_response(answer, checks=CHECKS)
    assert answer.status_code < 500
