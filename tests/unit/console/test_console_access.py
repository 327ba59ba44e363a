"""Who opens the console and who acts there: keys with roles, a proxy that names people, loopback; other sites do neither."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.console_support import OPERATE, READ, Client, RunningConsole, hashed, running_console
from support.ledger.ledger_backends import event

from daemon.ledger import utc_now
from daemon.settings.console_tables import ConsoleSettings
from daemon.settings.http_tables import ConsoleRole, ServeSettings

ASK = "ask-key-of-thirty-two-characters-"
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'"


def _keys() -> dict[str, Any]:
    return {"api_keys": [f"read:{hashed(READ)}", f"operate:{hashed(OPERATE).upper()}", hashed(ASK)]}


def _live_edit(console: RunningConsole) -> str:
    return console.story.go_live(event("e-1", "Norland"))[0].id


def _undo(client: Client, edit: str, *, reason: str = "wrong feed") -> int:
    """The status of undoing an edit, by the form of its own page."""
    client.open(f"/facts/{edit}/undo")
    return client.send(f"/facts/{edit}/undo", {"reason": reason}).status_code


def test_keys_keep_working_and_say_with_a_word_in_front_what_they_open() -> None:
    settings = ServeSettings(api_keys=tuple(_keys()["api_keys"]), api_key=f"{ASK}2, operate:{OPERATE}2")

    assert [one.lower() for one in settings.key_hashes] == [
        *(hashed(key) for key in (READ, OPERATE, ASK)),
        *(hashed(key) for key in (f"{ASK}2", f"{OPERATE}2")),
    ]
    assert settings.key_roles == {
        hashed(READ): ConsoleRole.READ,
        hashed(OPERATE): ConsoleRole.OPERATE,
        hashed(f"{OPERATE}2"): ConsoleRole.OPERATE,
    }
    for wrong in ("admin:" + hashed(READ), "operate:", "operate:key"):
        with pytest.raises(ValidationError):
            ServeSettings(api_keys=(wrong,))
    with pytest.raises(ValidationError, match="16 characters"):
        ServeSettings(api_key="operate:short")


def test_a_key_with_a_role_signs_in_and_any_other_does_not(tmp_path: Path) -> None:
    with running_console(tmp_path, serve=_keys()) as console:
        for wrong in ("", "guessed", ASK, "x" * 5_000):
            client = console.client()
            refused = client.sign_in(wrong)
            assert refused.status_code == 401
            assert "This key does not open the console" in refused.text
            assert client.open("/facts").url.path == "/console/sign-in"
        client = console.client()
        assert client.open("/facts?state=live").url.path == "/console/sign-in"
        landed = client.send("/sign-in", {"key": READ, "name": "Anna <b>"})
        assert (landed.status_code, landed.url.path, landed.url.query) == (
            200,
            "/console/facts",
            b"state=live",
        )
        assert "Anna &lt;b&gt; (key " in landed.text
        cookie = next(one for one in client.http.cookies.jar if one.name == "upkeep_console")
        assert READ not in str(cookie.value)
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "strict"
        client.send("/sign-out", {})
        assert client.open("/").url.path == "/console/sign-in"


def test_who_may_read_may_not_act_and_who_may_operate_is_kept_by_name(tmp_path: Path) -> None:
    with running_console(tmp_path, serve=_keys()) as console:
        edit = _live_edit(console)
        reader, operator = console.client(), console.client()
        reader.sign_in(READ, "Rita")
        assert "Undo" not in reader.open(f"/facts/{edit}").text
        assert _undo(reader, edit) == 403
        assert "role operate" in reader.page.text
        assert console.ledger.audit.edit(edit).state.value == "live"
        operator.sign_in(OPERATE, "Otto")
        assert _undo(operator, edit) == 200
        [entry] = console.ledger.audit_log.page().entries
        assert (entry.actor, entry.reason) == (f"Otto (key {hashed(OPERATE)[:8]})", "wrong feed")
        assert console.ledger.audit.edit(edit).state.value == "retracted"
        assert entry.actor in operator.open("/audit").text


def test_a_form_without_its_sessions_token_changes_nothing(tmp_path: Path) -> None:
    with running_console(tmp_path) as console:
        edit = _live_edit(console)
        mine, theirs = console.client(), console.client()
        theirs.open(f"/facts/{edit}/undo")
        foreign = theirs.hidden()["token"]
        mine.open(f"/facts/{edit}/undo")
        for token in ("", "wrong", foreign, "ü"):
            refused = mine.send(f"/facts/{edit}/undo", {"reason": "x", "token": token})
            assert refused.status_code == 403
            mine.open(f"/facts/{edit}/undo")
        stranger = console.client()  # no cookie at all: what another site's form would send
        assert stranger.http.post(f"/console/facts/{edit}/undo", data={"reason": "x"}).status_code == 403
        assert console.ledger.audit.edit(edit).state.value == "live"
        assert console.ledger.audit_log.page().entries == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example.org"},
        {"Origin": "null"},
    ],
)
def test_another_sites_page_can_neither_send_a_form_nor_read_a_page(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    with running_console(tmp_path) as console:
        edit = _live_edit(console)
        client = console.client()
        client.open(f"/facts/{edit}/undo")
        assert client.send(f"/facts/{edit}/undo", {"reason": "x"}, headers=headers).status_code == 403
        assert console.ledger.audit.edit(edit).state.value == "live"
        if "Sec-Fetch-Site" in headers:
            assert client.open("/", **headers, **{"Sec-Fetch-Mode": "cors"}).status_code == 403
            assert client.open("/", **headers, **{"Sec-Fetch-Mode": "navigate"}).status_code == 200  # a link


def test_every_answer_tells_browsers_to_run_and_frame_nothing_of_others(tmp_path: Path) -> None:
    with running_console(tmp_path, serve=_keys()) as console:
        client = console.client()
        for path in ("/sign-in", "/", "/nowhere", "/generations/x"):
            answer = client.http.get(f"/console{path}")
            assert answer.headers["content-security-policy"].startswith(POLICY)
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
        page = client.open("/sign-in").text
        assert "style=" not in page
        assert "onclick" not in page


def test_on_loopback_without_keys_this_machine_may_act_but_no_other_name_of_it(tmp_path: Path) -> None:
    with running_console(tmp_path) as console:
        client = console.client()
        assert "this machine" in client.open("/").text
        client.sign_in(name="Lea")
        assert "Lea (this machine)" in client.open("/").text
        # A page of evil.example.org whose name was made to point here, and a proxy that lets the world in.
        for host in ("evil.example.org", "evil.example.org:8091", "127.0.0.1.example.org"):
            assert client.open("/", Host=host).url.path == "/console/sign-in"


def test_a_proxy_names_people_only_from_its_address_and_with_its_secret(tmp_path: Path) -> None:
    secret = "a-secret-of-thirty-two-characters"
    named = {"X-Forwarded-User": "anna@example.org"}
    console_table = {
        "user_header": "X-Forwarded-User",
        "proxy_addresses": ["127.0.0.0/8"],
        "proxy_secret": secret,
        "operators": ["otto@example.org"],
    }
    with running_console(tmp_path, console=console_table) as console:
        edit = _live_edit(console)
        assert console.client().open("/").url.path == "/console/sign-in"
        assert console.client().open("/", **named).url.path == "/console/sign-in"
        trusted = named | {"X-Upkeep-Proxy-Secret": secret}
        assert "anna@example.org" in console.client().open("/", **trusted).text
        reader = console.client(headers=trusted)
        assert _undo(reader, edit) == 403
        otto = console.client(headers=trusted | {"X-Forwarded-User": "otto@example.org"})
        assert _undo(otto, edit) == 200
        assert console.ledger.audit_log.page().entries[0].actor == "otto@example.org"
    elsewhere = console_table | {"proxy_addresses": ["10.0.0.7"]}
    with running_console(tmp_path / "b", console=elsewhere) as console:
        spoofed = trusted | {"X-Forwarded-For": "10.0.0.7"}
        assert console.client().open("/", **spoofed).url.path == "/console/sign-in"


def test_a_header_is_believed_of_nobody_who_is_not_known() -> None:
    with pytest.raises(ValidationError, match="whoever reaches the port"):
        ConsoleSettings(user_header="X-Forwarded-User")
    with pytest.raises(ValidationError, match="such as 10"):
        ConsoleSettings(proxy_addresses=("everywhere",))
    with pytest.raises(ValidationError, match="32 characters"):
        ConsoleSettings(secret="short")


def test_a_session_ends_with_its_time_and_with_its_key_and_outlives_a_restart_by_its_secret(
    tmp_path: Path,
) -> None:
    now = utc_now()
    named = {"secret": "s" * 32, "session_hours": 1.0}
    with running_console(tmp_path, serve=_keys(), console=named, session_clock=lambda: now) as console:
        client = console.client()
        client.sign_in(OPERATE, "Otto")
        assert client.open("/").url.path == "/console/"
        kept = client.http.cookies["upkeep_console"]
        for torn in (kept[:-2] + "xx", kept.replace(".", "", 1), "a.b", "."):
            stranger = console.client(cookies={"upkeep_console": torn})
            assert stranger.open("/").url.path == "/console/sign-in"
        now += timedelta(hours=1, seconds=1)
        assert client.open("/").url.path == "/console/sign-in"
    now -= timedelta(hours=1)
    cookies = {"upkeep_console": kept}
    with running_console(tmp_path, serve=_keys(), console=named, session_clock=lambda: now) as console:
        assert console.client(cookies=cookies).open("/").url.path == "/console/"
    fewer = {"api_keys": _keys()["api_keys"][:1]}
    with running_console(tmp_path, serve=fewer, console=named, session_clock=lambda: now) as console:
        assert console.client(cookies=cookies).open("/").url.path == "/console/sign-in"


@pytest.mark.parametrize(
    "onward", ["https://evil.example.org/", "//evil.example.org", "/console//evil", "/console/\\evil", "/v1/"]
)
def test_signing_in_leads_to_a_page_of_the_console_whatever_the_link_said(
    tmp_path: Path, onward: str
) -> None:
    with running_console(tmp_path, serve=_keys()) as console:
        client = console.client()
        client.open("/sign-in")
        landed = client.send("/sign-in", {"key": READ, "next": onward})
        assert str(landed.url) == f"{console.url}/console/"
