"""Every route with hostile input, as the role that may: never a server error, always an answer that somebody can
read, and one that names the input where it is refused. Routes come from the application, fields from the pages' own
forms and the routes' signatures, so that a new route or field is hunted without a line here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import quote_from_bytes, urlsplit
from zlib import crc32

import httpx
from caregivers import caregiver_of
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from feed_server import RunningFeed, csrf_of
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from made_up_ward import NOW_MS, PASSWORD
from test_feed_roles import LOGINS, permissions_of, routes_below

from alerts.feed.accounts import create_account
from alerts.feed.app import create_app
from alerts.feed.roles import ROLES, allowed
from alerts.fhir.search import PARAMETERS
from devices.times import to_datetime

EXAMPLES = 2
"""Requests a route, of some hundred routes: three seconds. A longer hunt is this number made larger."""
READABLE = (
    "text/html",
    "application/json",
    "application/fhir+json",
    "application/pdf",
    "text/plain",
    "image/",
)
LAST = ("/accounts", "/identity/erase", "/logout")  # what they do takes the ground from under the others
HOSTILE = [
    *(b"", b" ", b"0", b"-1", b"1.5", b"1e309", b"NaN", b"-Infinity", b"9" * 400, b"2147483648", b"1_000", b"+1"),
    *(b"9223372036854775808", b"-9223372036854775809", b"x" * 10_000, b"\x00", b"a\x00b", b"\xed\xa0\x80", b"\xff\xfe"),
    *("²".encode(), "١٢٣".encode(), "🫀".encode() * 60, "\u202e".encode(), b"%s %(x)s {} {0}", b"' or 1=1 --", b"\\"),
    *(b"<script>alert(1)</script>", b"../../etc/passwd", b"//example.org", b"https://example.org/"),
    b"\r\nSet-Cookie: a=b",
    *(b"2026-02-30", b"0000-00-00", b"0001-01-01", b"9999-12-31", b"2026-03-29T02:30", b"0001-01-01T00:00"),
    *(b"9999-12-31T23:59", b"2026-11-22T09:00:00+99:00", b"2026-11-22T09:00:00Z", b"ge9999", b"lt0001-01-01", b"null"),
    *(b"00000000-0000-4000-8000-000000000000", b"{}", b"[]", b'{"a":' * 200, b"true", b"p-0000", b"a|b|c", b"|", b","),
]  # fmt: skip
hostile = st.one_of(
    st.sampled_from(HOSTILE),
    st.binary(max_size=12),
    st.text(max_size=12).map(lambda text: text.encode("utf-8", "replace")),
)


@dataclass
class Form:
    """A form as a browser would send it: where to, by which method, names with their values."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)


class Forms(HTMLParser):
    """All forms of a page; a button's or option's value is a value its field can have."""

    def __init__(self, page: httpx.Response) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._here, self._select = page.request.url.path, ""
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "form":
            path = urlsplit(said.get("action") or self._here).path
            self.found.append(Form(path, said.get("method", "get").upper()))
        if not self.found:
            return
        if tag == "select":
            self._select = said.get("name", "")
        name = self._select if tag == "option" else said.get("name", "")
        if name and tag in ("input", "select", "textarea", "option", "button"):
            self.found[-1].fields.append((name, said.get("value", "")))


def names_of(dependant: Dependant) -> set[str]:
    """The query and body names of a route's signature."""
    own = {one.alias for one in (*dependant.query_params, *dependant.body_params)}
    return own.union(*(names_of(below) for below in dependant.dependencies))


APP_ROUTES = [
    (method, route)
    for route in routes_below(create_app("").routes)
    for method in sorted(route.methods)
    if not (method == "POST" and route.path.startswith("/api/"))  # of JSON: test_feed_generated.py
]


class Hunt:
    """A ward, somebody logged in for each role, and what the pages' forms send where."""

    def __init__(self, ward: RunningFeed) -> None:
        self.ward = ward
        ward.feed.requests.most = ward.feed.limiter.most = 10**6
        create_account(ward.conn, "admin", PASSWORD, "administrator", None, at=to_datetime(NOW_MS))
        self.clients = {role: ward.client(login) for role, login in LOGINS.items()}
        patient, alert = ward.conn.execute(
            "select patient, alert::text from scad.alert where patient like 'p-0%' order by patient, alert"
        ).fetchall()[0]
        self.clients["caregiver"] = caregiver_of(ward, self.clients["nurse"], patient)
        self.tokens = {role: csrf_of(client) for role, client in self.clients.items()}
        self.clients["nobody"], self.tokens["nobody"] = ward.client(), ""
        given_out = {"csrf": self.tokens["nurse"]}
        code = self.clients["nurse"].post(f"/patients/{patient}/tablet", data=given_out).text
        self.clients["tablet"], self.tokens["tablet"] = ward.client(), ""
        digits = re.search(r'class="code">(\d{4} \d{4})<', code)
        assert digits is not None
        assert self.clients["tablet"].post("/tablet/link", data={"code": digits[1]}).status_code == 303
        self.known = {
            "patient": patient, "alert": alert, "team": "caen", "login": "infirmiere", "action": "note",
            "change": "disable", "number": "1", "id": "1", "file": "1", "access": "1",
        }  # fmt: skip
        self.forms: dict[tuple[str, str], list[tuple[str, str]]] = {}

    def who(self, method: str, route: APIRoute) -> str:
        for needed in permissions_of(route.dependant):
            return next(role for role in ("physician", *ROLES) if allowed(role, needed))
        return "tablet" if route.path == "/tablet" else "nurse" if "second-factor" in route.path else "nobody"

    def page(self, route: APIRoute) -> httpx.Response:
        """The route's answer about what is there, to whoever may."""
        path = re.sub(r"\{(\w+)\}", lambda found: self.known.get(found[1], "1"), route.path)
        return self.clients[self.who("GET", route)].get(path)

    def learn(self) -> None:
        """Every page's forms, as whoever sees them."""
        for method, route in APP_ROUTES:
            if method != "GET" or route.path.startswith(("/api", "/fhir", "/metrics")):
                continue
            pages = [self.page(route)]
            if route.path == "/tablet":
                pages.append(self.clients["tablet"].post("/tablet"))
            for page in pages:
                if page.headers.get("content-type", "").startswith("text/html"):
                    self._keep(Forms(page).found)

    def _keep(self, forms: Sequence[Form]) -> None:
        for form in forms:
            for method, route in APP_ROUTES:
                if method == form.method and route.path_regex.match(form.action):
                    here = self.forms.setdefault((method, route.path), [])
                    here.extend(one for one in form.fields if one not in here)
                    break

    def request(self, data: st.DataObject, method: str, route: APIRoute) -> tuple[httpx.Response, list[str]]:
        """Draw a request, send it; the answer and, where something was made hostile, the names of the inputs."""
        who = self.who(method, route)
        spoilt: list[str] = []
        path = route.path
        for name in route.param_convertors:
            value = self.known.get(name, "1").encode()
            if data.draw(st.integers(0, 4)) == 0:
                value = data.draw(hostile.filter(bool))
                spoilt.append(name)
            path = path.replace("{" + name + "}", quote_from_bytes(value, safe=""))
        learnt: dict[str, list[str]] = {}
        for name, typed in self.forms.get((method, route.path), []):
            learnt.setdefault(name, []).append(typed)
        of_fhir = PARAMETERS.get(route.path.split("/")[2], {}) if route.path.startswith("/fhir/") else {}
        names = sorted({*learnt, *names_of(route.dependant), *of_fhir} - {"csrf"})
        fields = {name: data.draw(st.sampled_from(values)).encode() for name, values in learnt.items()}
        for name in data.draw(st.lists(st.sampled_from(names), max_size=3, unique=True)) if names else ():
            fields[name] = data.draw(hostile)
            spoilt.append(name)
        sent = "&".join(
            f"{quote_from_bytes(name.encode())}={quote_from_bytes(value)}"
            for name, value in fields.items()
            if name != "csrf"
        )
        headers = {"X-CSRF-Token": self.tokens[who]}
        if data.draw(st.booleans()):
            headers["Accept-Language"] = data.draw(
                st.sampled_from(["", "fr;q=x", ",;=", "*", "zz-" * 40, "fr;q=1e999"])
            )
        if method == "GET":
            address, body = f"{path}?{sent}", None
        else:
            address, body = path, f"csrf={self.tokens[who]}&{sent}".encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        client = self.clients["nobody" if route.path == "/logout" else who]
        with client.stream(method, address, content=body, headers=headers) as answer:
            if route.path != "/api/stream" or answer.status_code != 200:  # the answer without an end
                answer.read()
        return answer, [*route.param_convertors, *names] if spoilt else []


def judge(answer: httpx.Response, what: str, inputs: list[str]) -> None:
    assert answer.status_code < 500, what
    kind = answer.headers.get("content-type", "")
    if answer.is_redirect:
        assert re.match(r"/(?!/)", answer.headers["location"]), what  # stays here
        return
    if answer.status_code == 200 and "event-stream" in kind:
        return
    assert kind.startswith(READABLE), (what, kind)
    assert answer.content, what
    if answer.status_code in (400, 422) and inputs:
        assert any(name in answer.text for name in inputs), (what, answer.text[:300])


OTHERS = {"/health/live", "/health/ready", "/openapi.json", "/queue/rows"}
"""For machines that watch (docs/operation.md), the description itself, and what the queue's own script asks for."""
PAGE_MAX = 150_000


def weight(client: httpx.Client, page: httpx.Response, parts: dict[str, int]) -> int:
    """Bytes of the page with its styles and scripts and what those import; `parts` remembers files."""
    wanted, seen = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)), set[str]()
    while wanted - seen:
        path = (wanted - seen).pop()
        seen.add(path)
        if path not in parts:
            text = client.get(path).text
            parts[path] = len(text.encode())
            wanted.update(f"/static/{name}" for name in re.findall(r'from "\./([^"]+)"', text))
    return len(page.content) + sum(parts[path] for path in seen)


def test_programs_answers_are_described_and_every_page_is_light_with_its_styles_and_scripts(
    ward: RunningFeed,
):
    hunt = Hunt(ward)
    described = set(create_app("").openapi()["paths"])
    parts: dict[str, int] = {}
    pages = 0
    for method, route in APP_ROUTES:
        if method != "GET" or route.path == "/api/stream":
            continue
        answer = hunt.page(route)
        kind = answer.headers.get("content-type", "")
        if kind.startswith("application/json"):
            assert route.path in described | OTHERS, route.path
        elif kind.startswith("application/fhir+json"):
            assert route.path.startswith("/fhir/"), route.path
        elif kind.startswith("text/html"):
            pages += 1
            assert weight(hunt.clients["nobody"], answer, parts) < PAGE_MAX, route.path
    assert pages > 30


def ask_often(hunt: Hunt, method: str, route: APIRoute) -> None:
    @seed(crc32(f"{method} {route.path}".encode()))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        answer, inputs = hunt.request(data, method, route)
        sent = f"{method} {answer.request.url} {answer.request.content[:400]!r}"
        judge(answer, f"{sent} {answer.status_code}", inputs)

    run()


def test_no_route_answers_hostile_input_with_a_server_error(ward: RunningFeed):
    hunt = Hunt(ward)
    hunt.learn()
    assert len(hunt.forms) >= 25
    for method, route in sorted(APP_ROUTES, key=lambda one: any(end in one[1].path for end in LAST)):
        ask_often(hunt, method, route)
