"""Every form of the console with whatever somebody may send: no error of ours, and nothing done without token and role."""

from dataclasses import dataclass
from urllib.parse import quote_plus

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from support.console_support import OPERATE, READ, hashed
from support.ledger.ledger_backends import START, Story, event

from daemon.console.app import console_routes, create_console
from daemon.console.pages import failures
from daemon.ledger import Ledger
from daemon.ledger.errors import NotInLedger
from daemon.ledger.values import Lane, Plan, PlannedBatch
from daemon.operations.dead_letters import DeadLetter
from daemon.settings.settings import Settings
from edits.errors import TemporaryError

HERE = ("127.0.0.1", 50_000)
SIGNING = ("/sign-in", "/sign-out")
UNKNOWN = (
    "999",
    "-1",
    "abc",
    "9" * 30,
    "%00",
    "%ED%A0%80",
    "\N{ARABIC-INDIC DIGIT ONE}",
    "1.0",
    "0:0",
    "..",
    "%20",
)
HOSTILE = (
    "",
    " ",
    "0",
    "-1",
    "9" * 40,
    "NaN",
    "\N{ARABIC-INDIC DIGIT ONE}",
    "\0",
    "a\0b",
    "<script>alert(1)</script>",
    "\N{RIGHT-TO-LEFT OVERRIDE}x",
    "{}",
    "[" * 5_000,
    "x" * (1 << 20),
)
RAW = (
    b"",
    b"reason=%ED%A0%80",  # half a surrogate pair
    b"reason=%FF%FE&expected_head=%FF",
    b"\xff\xfe\x00",
    b"reason",
    b"&&&&=&=1",
    b"reason=a&reason=b&reason=",
    b"a=1&" * 500,
    b'{"reason": "x"}',
    b"reason=" + b"%00" * 100_000,
)
FIELDS = ("reason", "expected_head", "restore", "value", "do", "key", "name", "next")


@dataclass
class Desk:
    """A console behind its keys over a ledger in which everything can be done, and what was done."""

    app: Starlette
    ledger: Ledger
    live: str

    def client(self, key: str | None) -> TestClient:
        """A browser that signed in with a key; None: it did not."""
        client = TestClient(self.app, base_url="http://127.0.0.1", client=HERE, follow_redirects=False)
        if key is not None:
            fields = {"token": token(client, "/sign-in"), "key": key, "name": "Otto"}
            assert client.post("/console/sign-in", data=fields).status_code == 303
        return client

    def routes(self) -> list[str]:
        """Every address that takes a form, as the application itself lists them."""
        mounted = next(route for route in self.app.routes if isinstance(route, Mount))
        assert isinstance(mounted.app, Starlette)
        return [
            route.path
            for route in mounted.app.routes
            if isinstance(route, Route) and "POST" in (route.methods or ())
        ]

    def state(self) -> object:
        """Everything that an action could have changed."""
        ledger = self.ledger
        return (
            ledger.audit_log.page().entries,
            ledger.generations.tip(),
            ledger.audit.counts(),
            ledger.control.holds(),
            ledger.proposals.waiting(),
            ledger.plans.latest(10),
        )


@pytest.fixture
def desk(story: Story, monkeypatch: pytest.MonkeyPatch) -> Desk:
    letter = DeadLetter(0, 0, START, "not_json", "not JSON", "facts", 0, 1, None, "{", 1, None)
    # There is a letter to mend, and then the broker goes away (tests/integration has the real one).
    monkeypatch.setattr(failures, "dead_letter", lambda _settings, name, **_: _letter(letter, name))
    monkeypatch.setattr(failures, "resubmit", _away)
    [live, _] = story.go_live(event("a", "Norland"), event("b", "Sudland"))
    [waits] = story.arrive(event("c", "Westmark"))
    batch = PlannedBatch(0, Lane.BATCH, "scen", (waits.id,), "alike")
    story.ledger.proposals.propose(Plan(Lane.BATCH, 0, (batch,)))
    story.ledger.control.hold("look at this")
    settings = Settings.model_validate(
        {
            "serve": {"api_keys": [f"read:{hashed(READ)}", f"operate:{hashed(OPERATE)}"]},
            "kafka": {"bootstrap_servers": "127.0.0.1:1"},
        }
    )
    app = create_console(settings, story.ledger, host="127.0.0.1")
    return Desk(Starlette(routes=console_routes(app)), story.ledger, live.id)


def _letter(letter: DeadLetter, name: str) -> DeadLetter:
    if name != letter.name:
        raise NotInLedger(f"there is no dead letter {name[:40]!r}")
    return letter


def _away(*_: object, **__: object) -> None:
    raise TemporaryError("no broker answers")


def token(client: TestClient, page: str = "/audit") -> str:
    """The token of the session's forms."""
    text = client.get(f"/console{page}").text
    return text.split('name="token" value="')[1].split('"')[0]


def filled(route: str, desk: Desk, value: str | None = None) -> str:
    """The address with something in the place of its parameter: what is there, or what was given."""
    found = {"{edit}": desk.live, "{number}": "1", "{hold}": "1", "{proposal}": "1", "{name}": "0:0"}
    for name, known in found.items():
        route = route.replace(name, known if value is None else value)
    return f"/console{route}"


def good_form(desk: Desk) -> dict[str, str]:
    """What makes each action go through, but for the token."""
    tip = desk.ledger.generations.tip()
    assert tip is not None
    return {"reason": "a test", "expected_head": str(tip[0]), "value": "{}", "do": "send"}


def test_the_application_lists_the_forms_that_are_tried_here(desk: Desk) -> None:
    assert len(desk.routes()) >= 11
    assert set(SIGNING) < set(desk.routes())


@pytest.mark.parametrize("key", [None, READ, OPERATE])
def test_without_its_token_or_its_role_no_form_does_anything(desk: Desk, key: str | None) -> None:
    client, before = desk.client(key), desk.state()
    right = token(client) if key else ""
    wrong = [{}, {"token": ""}, {"token": "x" * 43}, {"token": "\N{SNOWMAN}"}, {"token": "x" * (1 << 20)}]
    wrong += [{"token": right}] if key == READ else []
    for route in desk.routes():
        if route in SIGNING:
            continue
        for form in wrong:
            answer = client.post(filled(route, desk), data={**good_form(desk), **form})
            # Who did not sign in is sent to do so; all else is refused.
            assert answer.status_code == (303 if key is None else 403), (route, list(form))
            assert key is not None or answer.headers["location"].startswith("/console/sign-in")
    assert desk.state() == before


def test_the_same_forms_do_what_they_say_with_token_and_role(desk: Desk) -> None:
    client = desk.client(OPERATE)
    done = []
    for route in desk.routes():
        if "dead-letters" in route or route in SIGNING:
            continue
        before = desk.state()
        answer = client.post(filled(route, desk), data={**good_form(desk), "token": token(client)})
        assert answer.status_code in (303, 409), route
        done += [route] if desk.state() != before else []
    assert {"/generations/{number}/undo", "/work/hold", "/proposals/{proposal}/approve"} <= set(done)


def test_hostile_values_and_ids_are_refused_in_words_and_change_nothing(desk: Desk) -> None:
    client, before = desk.client(OPERATE), desk.state()
    right = token(client)
    for route in desk.routes():
        if "{" in route:
            for value in UNKNOWN:
                answer = client.post(filled(route, desk, value), data={**good_form(desk), "token": right})
                assert 400 <= answer.status_code < 500 or answer.status_code == 503, (route, value)
    assert desk.state() == before


def test_whatever_is_sent_in_a_form_is_never_an_error_of_ours(desk: Desk) -> None:
    client = desk.client(OPERATE)
    right = token(client)
    for route in desk.routes():
        for value in HOSTILE:
            for field in FIELDS:
                form = {**good_form(desk), "token": right, field: value}
                assert client.post(filled(route, desk), data=form).status_code in (
                    *(303, 400, 401, 403, 404, 409, 413, 422, 503),
                ), (route, field, value[:20])
                if route == "/sign-out" or route == "/sign-in":
                    client = desk.client(OPERATE)
                    right = token(client)


def test_bodies_that_are_no_forms_are_never_an_error_of_ours(desk: Desk) -> None:
    client = desk.client(OPERATE)
    right = quote_plus(token(client)).encode()
    types = ("application/x-www-form-urlencoded", "application/json", "multipart/form-data", "")
    for route in desk.routes():
        for body in RAW:
            for number, kind in enumerate(types):
                sent = b"token=" + right + b"&" + body if number % 2 else body
                answer = client.post(filled(route, desk), content=sent, headers={"content-type": kind})
                assert answer.status_code != 500, (route, body[:20], kind)
                if route in SIGNING:
                    client = desk.client(OPERATE)
                    right = quote_plus(token(client)).encode()
    too_large = client.post("/console/work/hold", content=b"reason=" + b"x" * (5 << 20))
    assert too_large.status_code == 413
