"""Logging in at an OpenID Connect provider: who gets in, and every way in which a token is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest
from feed_server import RunningFeed, csrf_of, running
from made_up_ward import NOW_MS, enrol
from oidc_provider import CLIENT, SECRET, Provider, provider

from alerts.feed.access import Access, access_of
from alerts.feed.oidc import KEYS_AGAIN_S, OidcSettings
from alerts.feed.oidc import Provider as Client
from scad.services import Postgres
from scad.settings import Settings, SettingsError


@pytest.fixture
def idp() -> Iterator[Provider]:
    with provider(NOW_MS // 1000) as found:
        yield found


@pytest.fixture
def start(
    store_address: str, store: psycopg.Connection[Any], idp: Provider
) -> Iterator[Callable[..., RunningFeed]]:
    """start(claim=…, acr=…): the feed with this provider."""
    enrol(store, NOW_MS)
    open_feeds = []

    def start(**settings: Any) -> RunningFeed:
        client = Client(OidcSettings(idp.issuer, CLIENT, SECRET, **settings))
        block = running(store_address, store, access=Access(client))
        open_feeds.append(block)
        return block.__enter__()

    yield start
    for block in open_feeds:
        block.__exit__(None, None, None)


def to_provider(client: httpx.Client, path: str = "/login/oidc") -> str:
    """Begin; what the provider answers is where the browser comes back to."""
    there = client.get(path)
    assert there.status_code == 303, there.text
    return httpx.get(there.headers["location"]).headers["location"]


def log_in(feed: RunningFeed) -> tuple[httpx.Client, httpx.Response]:
    client = feed.client()
    return client, client.get(to_provider(client))


def test_a_person_with_an_account_gets_in_and_goes_where_they_wanted(start: Any, idp: Provider):
    feed = start()
    client = feed.client()
    assert "/login/oidc?next=" in client.get("/login").text
    there = client.get("/login/oidc?next=/patients/p-1")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(there.headers["location"]).query).items()}
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["scope"].split()[0] == "openid"
    back = httpx.get(there.headers["location"]).headers["location"]
    done = client.get(back)
    assert (done.status_code, done.headers["location"]) == (303, "/patients/p-1")
    session = client.get("/api/session").json()
    assert (session["login"], session["role"]) == ("medecin", "physician")
    assert SECRET not in str(idp.token_forms)  # it went in the header


def test_logging_out_ends_the_providers_session_too(start: Any, idp: Provider):
    client, _ = log_in(start())
    done = client.post("/logout", data={"csrf": csrf_of(client)})
    place = urlsplit(done.headers["location"])
    assert f"{place.scheme}://{place.netloc}" == idp.issuer
    told = parse_qs(place.query)
    assert told["id_token_hint"]
    assert told["post_logout_redirect_uri"][0].endswith("/login?ended=true")
    assert f"form-action 'self' {idp.issuer};" in client.get("/login").headers["content-security-policy"]
    assert client.get("/api/session").status_code == 401


BENT: dict[str, Callable[[Provider], Any]] = {
    "wrong nonce": lambda idp: idp.bent.update(nonce="another"),
    "no nonce": lambda idp: idp.bent.update(nonce=None),
    "expired": lambda idp: idp.bent.update(exp=idp.now_s - 61),
    "without an end": lambda idp: idp.bent.update(exp=None),
    "from the future": lambda idp: idp.bent.update(iat=idp.now_s + 61),
    "other audience": lambda idp: idp.bent.update(aud="another"),
    "several audiences without azp": lambda idp: idp.bent.update(aud=[CLIENT, "another"]),
    "issued to another client": lambda idp: idp.bent.update(azp="another"),
    "other issuer": lambda idp: idp.bent.update(iss="https://elsewhere.example"),
    "nobody": lambda idp: idp.bent.update(sub=None),
    "unsigned": lambda idp: idp.header.update(alg="none"),
    "signed with the public key": lambda idp: idp.header.update(alg="HS256"),
    "an unknown key": lambda idp: idp.change_key(publish=False),
    "a key of the same name": lambda idp: (idp.change_key(publish=False), idp.header.update(kid="one")),
    "a person without an account": lambda idp: idp.bent.update(preferred_username="somebody"),
    "a login that is a number": lambda idp: idp.bent.update(preferred_username=7),
    "no login, and a userinfo of another": lambda idp: (
        idp.bent.update(preferred_username=None),
        idp.userinfo.update(sub="s-2", preferred_username="medecin"),
    ),
}


@pytest.fixture(scope="module")
def straight(
    postgres: Postgres, schema_template: str, quick_hashes: None
) -> Iterator[tuple[RunningFeed, Provider]]:
    """One feed and one provider for all the ways in which a token can be wrong."""
    address = postgres.create_database(template=schema_template)
    with psycopg.connect(address, autocommit=True) as conn, provider(NOW_MS // 1000) as idp:
        enrol(conn, NOW_MS)
        access = Access(Client(OidcSettings(idp.issuer, CLIENT, SECRET)))
        with running(address, conn, access=access) as feed:
            feed.feed.limiter.most = 1000
            yield feed, idp
    postgres.drop_database(address)


@pytest.mark.parametrize("what", BENT)
def test_a_token_that_is_not_right_opens_nothing(straight: tuple[RunningFeed, Provider], what: str):
    feed, idp = straight
    idp.straighten()
    assert log_in(feed)[1].headers["location"] == "/"
    BENT[what](idp)
    client, answer = log_in(feed)
    assert answer.headers["location"] == "/login?failed=true"
    assert "scad_session" not in client.cookies


def test_a_provider_that_says_it_is_another_opens_nothing_and_the_page_says_so(start: Any, idp: Provider):
    client = start().client()
    idp.document.update(issuer="https://elsewhere.example")
    assert client.get("/login/oidc").headers["location"] == "/login?failed=true"
    page = client.get("/login?failed=true")
    assert (page.status_code, "did not succeed" in page.text) == (401, True)


def test_an_answer_to_another_log_in_is_refused(start: Any):
    feed = start()
    mine, other = feed.client(), feed.client()
    to_provider(mine)
    assert mine.get(to_provider(other)).headers["location"] == "/login?failed=true"  # state
    nobody = feed.client()
    assert nobody.get("/login/oidc/return?code=x&state=y").headers["location"] == "/login?failed=true"


def test_a_code_is_good_once(start: Any):
    feed = start()
    client = feed.client()
    back = to_provider(client)
    cookies = dict(client.cookies)
    assert client.get(back).headers["location"] == "/"
    again = httpx.get(back, cookies=cookies)
    assert again.headers["location"] == "/login?failed=true"


def test_a_new_key_of_the_provider_is_looked_for_once_a_minute(start: Any, idp: Provider):
    feed = start()
    log_in(feed)
    idp.change_key()
    assert log_in(feed)[1].headers["location"] == "/login?failed=true"  # just read: not again yet
    feed.hands.now_ms += int(KEYS_AGAIN_S * 1000)
    assert log_in(feed)[1].headers["location"] == "/"
    assert idp.key_reads == 2


def test_the_level_of_authentication_must_be_one_of_those_asked_for(start: Any, idp: Provider):
    feed = start(acr=("eidas1",))
    assert log_in(feed)[1].headers["location"] == "/login?failed=true"
    idp.bent["acr"] = "eidas1"
    client = feed.client()
    there = client.get("/login/oidc").headers["location"]
    assert parse_qs(urlsplit(there).query)["acr_values"] == ["eidas1"]
    assert log_in(feed)[1].headers["location"] == "/"


def test_the_claim_may_come_from_the_userinfo(start: Any, idp: Provider):
    feed = start(claim="SubjectNameID")
    idp.userinfo["SubjectNameID"] = "MEDECIN"
    client, done = log_in(feed)
    assert done.headers["location"] == "/"
    assert client.get("/api/session").json()["login"] == "medecin"


@pytest.mark.parametrize(("verified", "place"), [(True, "/"), (False, "/login?failed=true")])
def test_an_address_counts_only_when_the_provider_has_verified_it(
    start: Any, idp: Provider, verified: bool, place: str
):
    feed = start(claim="email")
    idp.bent.update(email="medecin", email_verified=verified)
    assert log_in(feed)[1].headers["location"] == place


def test_a_disabled_or_locked_account_stays_out(start: Any):
    feed = start()
    feed.conn.execute("update scad.account set locked_until = '2100-01-01' where login = 'medecin'")
    assert log_in(feed)[1].headers["location"] == "/login?failed=true"
    feed.conn.execute("update scad.account set locked_until = null, disabled_at = now()")
    assert log_in(feed)[1].headers["location"] == "/login?failed=true"


def test_a_provider_that_is_away_leaves_the_local_log_in(start: Any, idp: Provider):
    feed = start()
    idp.document["token_endpoint"] = "http://127.0.0.1:9/token"
    assert log_in(feed)[1].headers["location"] == "/login?failed=true"
    assert feed.client("infirmiere").get("/api/session").status_code == 200


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"oidc_issuer": "https://id.example"}, "SCAD_OIDC_CLIENT_ID"),
     ({"oidc_issuer": "id.example", "oidc_client_id": "scad"}, "SCAD_OIDC_ISSUER")],
)  # fmt: skip
def test_settings_that_cannot_be_say_which(settings: dict[str, str], message: str):
    with pytest.raises(SettingsError, match=message):
        access_of(Settings(**settings))  # type: ignore[arg-type]


def test_without_a_provider_there_is_no_button_and_no_way(store_address: str, store: psycopg.Connection[Any]):
    with running(store_address, store) as feed:
        assert "/login/oidc" not in feed.client().get("/login").text
        assert feed.client().get("/login/oidc").headers["location"] == "/login"
        assert feed.client().get("/login/oidc/return").headers["location"] == "/login?failed=true"
