"""What the console's pages do with what a ledger holds: hostile texts, stale previews, searches, holds, plans that wait."""

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from threading import Barrier

import httpx
import pytest
from support.console_support import Client, RunningConsole, running_console
from support.ledger.ledger_backends import START, Clock, database_of, event
from support.waiting import answers, eventually, free_port

from daemon.console.pages.failures import fault_of
from daemon.console.web.rendering import CELL_CHARS, fact, lasting, long, plain
from daemon.ledger.publication.reversals import Reversals
from daemon.ledger.values import Act, Lane, Plan, PlannedBatch, RejectedEdit
from daemon.operations.dead_letters import DeadLetter

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&<b>"
TURNED = "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe\N{POP DIRECTIONAL FORMATTING}\x1b[31m\x00\N{ZERO WIDTH SPACE}"
ARABIC = "عاصمة النمسا هي فيينا"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[RunningConsole]:
    with running_console(tmp_path) as console:
        yield console


class Tags(HTMLParser):
    """The tags and attributes that a browser would see, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_texts_are_shown_as_texts_on_every_page(console: RunningConsole) -> None:
    story = console.story
    hostile = f"{MARKUP} {ARABIC}"
    [live] = story.go_live(event("<i>e</i>", hostile[:200], hostile[:300], relation=None))
    [bad] = story.arrive(event("bad", "Nowhere", MARKUP))
    story.plan([bad])
    story.publish(story.claim(), live={}, rejected={bad.id: RejectedEdit(MARKUP * 20, {"reliability": 0.0})})
    story.arrive(event("waits", hostile[:100], MARKUP))
    console.ledger.control.hold(MARKUP * 10, actor=MARKUP)
    client = console.client()
    pages = (
        *("/", "/facts", f"/facts/{live.id}", f"/facts/{live.id}/undo", f"/facts/{bad.id}", "/failures"),
        *("/generations/1", "/generations/1/undo", "/work", "/work/plan", "/audit", "/diff?a=0&b=1"),
        f"/facts/{bad.id}/retry",
    )
    for path in pages:
        page = client.open(path)
        assert page.status_code == 200, path
        seen = Tags(page.text)
        assert not [one for one in seen.tags if one[0] in ("img", "b", "i") or one[1].get("onerror")], path
        assert [one["src"] for tag, one in seen.tags if tag == "script"] == [
            one["src"]
            for tag, one in seen.tags
            if tag == "script" and (one["src"] or "").startswith("/console/")
        ]
    assert "<script>alert(1)</script>" in Tags(client.open(f"/facts/{live.id}").text).text
    assert ARABIC in client.page.text


def test_a_text_can_neither_hide_nor_turn_what_stands_around_it_nor_fill_the_page() -> None:
    assert not set("\x00\x1b\u202e\u202c\u200b") & set(plain(TURNED) + str(fact(TURNED)) + str(long(TURNED)))
    assert str(fact(ARABIC)) == f'<bdi class="fact">{ARABIC}</bdi>'
    ten_kilobytes = "ab<" * 3_500
    assert len(plain(ten_kilobytes)) == CELL_CHARS
    shown = str(long(ten_kilobytes))
    assert "and 6,500 more characters" in shown
    assert "<" not in shown.split(">", 1)[1].replace("&lt;", "").split("\n<span")[0]
    assert str(fact("anna.berg@example.org says")) == (
        '<bdi class="fact">anna.<wbr>berg@<wbr>example.<wbr>org says</bdi>'
    )
    assert "anna@example.org" in fact("anna@example.org"), "short words stay whole"
    assert '<span class="long">' in fact("x" * 21)
    assert str(fact("")) == str(fact(None)) == '<span class="quiet">(nothing)</span>'
    assert [lasting(seconds) for seconds in (0, 61, 3_700, 90_000, -5)] == [
        *("0 s", "1 min 1 s", "1 h 1 min", "1 d 1 h", "0 s"),
    ]


def test_what_was_previewed_is_not_done_to_something_else(console: RunningConsole) -> None:
    story = console.story
    [first] = story.go_live(event("a", "Norland"))
    client = console.client()
    client.open("/generations/1/undo")
    story.go_live(event("b", "Norland", "Rungholt", day=2))

    refused = client.send("/generations/1/undo", {"reason": "wrong feed"})

    assert refused.status_code == 409
    assert "generation 2 was published" in refused.text
    assert "Nothing would change" in refused.text
    assert story.state(first) == "superseded"
    assert console.ledger.audit_log.page().entries == ()


def test_a_search_that_found_something_folds_its_conditions_into_one_line(console: RunningConsole) -> None:
    console.story.go_live(event("ev-7", "Norland"))
    client = console.client()
    found = client.open("/facts?batch=1&event_id=ev-7").text
    assert "More conditions: event id ev-7, batch 1" in Tags(found).text
    assert "<details open>" not in found
    assert "<details open>" in client.open("/facts?batch=9").text


def test_of_two_people_who_undo_the_same_generation_at_once_one_does_it_and_the_other_is_told(
    console: RunningConsole,
) -> None:
    [edit] = console.story.go_live(event("a", "Norland"))
    clients = [console.client() for _ in range(2)]
    for client in clients:
        client.open("/generations/1/undo")
    together = Barrier(len(clients))

    def undo(client: Client) -> httpx.Response:
        together.wait(10)
        return client.send("/generations/1/undo", {"reason": "bad feed"})

    with ThreadPoolExecutor(len(clients)) as pool:
        answers = list(pool.map(undo, clients))

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert "generation 2 was published" in max(answers, key=lambda answer: answer.status_code).text
    assert (console.story.head(), console.story.state(edit)) == (2, "retracted")
    assert len(console.ledger.audit_log.page().entries) == 1


def test_the_timeline_says_once_what_published_a_generation_and_the_reason_where_somebody_gave_one(
    console: RunningConsole,
) -> None:
    console.story.go_live(event("a", "Norland"))
    console.ledger.reversals.undo_generation(1, Act("anna", "bad feed"))
    cards = Tags(console.client().open("/").text).text.split("Generation ")
    [undo, batch, _base] = [card for card in cards if card[:1].isdecimal()]
    assert "by anna" in undo
    assert "bad feed" in undo
    assert re.search(r"lane, plan \d+, batch \d+, editor \w+", batch)
    assert len(re.findall(r"batch \d+", batch)) == 1


def test_a_rollback_that_is_still_written_down_is_told_and_nothing_is_undone_meanwhile(
    console: RunningConsole,
) -> None:
    [first] = console.story.go_live(event("a", "Norland"))
    console.story.go_live(event("b", "Norland", "Rungholt", day=2))
    reversals = Reversals(database_of(console.ledger), console.story.clock, at_once=0)
    reversals.rollback(1, Act("anna", "bad feed"))
    client = console.client()

    assert "It answers as generation 1 did, already" in Tags(client.open("/generations/3").text).text
    for path in (f"/facts/{first.id}/undo", "/generations/2/undo", "/diff?a=2&b=3"):
        refused = client.open(path)
        assert (refused.status_code, "try again in a moment" in refused.text) == (503, True)
    assert client.open("/").status_code == client.open(f"/facts/{first.id}").status_code == 200

    reversals.finish()
    assert "Rungholt" in Tags(client.open("/generations/3").text).text


def test_undo_of_a_generation_shows_what_comes_back_and_what_stays_off_and_keeps_who_did_it(
    console: RunningConsole,
) -> None:
    story = console.story
    [old, by_hand] = story.go_live(event("a", "Norland", "Elbing"), event("b", "Sudland", "Kappa"))
    console.ledger.reversals.undo_fact(by_hand.id, Act("anna", "wrong"))
    [new] = story.go_live(event("c", "Norland", "Rungholt", day=2))
    client = console.client()
    client.sign_in(name="Otto")

    preview = Tags(client.open("/generations/3/undo").text).text
    done = client.send("/generations/3/undo", {"reason": "bad feed"})

    assert "Rungholt" in preview
    assert "Elbing" in preview
    assert (done.status_code, done.url.path) == (200, "/console/generations/4")
    assert "undo of a generation, " in Tags(done.text).text
    assert [story.state(edit) for edit in (old, by_hand, new)] == ["live", "retracted", "retracted"]
    entry = console.ledger.audit_log.page().entries[0]
    assert (entry.actor, entry.reason) == ("Otto (this machine)", "bad feed")
    back = Tags(client.open("/generations/1/rollback").text).text
    assert "What stays off" in back
    assert "taken back by hand in generation 2" in back


def test_an_action_without_a_reason_is_refused(console: RunningConsole) -> None:
    [edit] = console.story.go_live(event("a"))
    client = console.client()
    for reason in ("", "  ", "x" * 501):
        client.open(f"/facts/{edit.id}/undo")
        assert client.send(f"/facts/{edit.id}/undo", {"reason": reason}).status_code == 422
    assert console.story.state(edit) == "live"


def test_facts_are_found_by_everything_that_is_known_of_them(console: RunningConsole) -> None:
    story = console.story
    [edit] = story.go_live(event("ev-7", "Norland", "Elbing"))
    story.arrive(event("other", "Sudland", "Kappa"))
    client = console.client()
    wanted = f"/console/facts/{edit.id}"
    for query in (
        *("text=norl", "text=elbing", f"text={edit.id}", "subject=NORLAND", "answer=elbing", "event_id=ev-7"),
        *(f"edit_id={edit.id}", "generation=1", "batch=1", "state=live", "relation=capital&state=live"),
        "since=2026-05-01T00:00&state=live",
    ):
        page = client.open(f"/facts?{query}").text
        assert f'"{wanted}"' in page, query
        assert ">Sudland<" not in page, query
    for wrong in (
        "edit_id=x",
        "state=gone",
        "since=yesterday",
        "generation=-1",
        "batch=x",
        f"edit_id={'9' * 30}",
    ):
        assert client.open(f"/facts?{wrong}").status_code == 422, wrong
    assert client.open("/facts?text=%21%21").status_code == 400
    assert client.open("/facts?" + "&".join(f"a{n}=1" for n in range(100))).status_code == 422
    for missing in ("/facts/99", "/generations/99", "/diff?a=0&b=99", "/proposals/1", "/nothing"):
        assert client.open(missing).status_code == 404, missing


def test_a_search_for_what_no_database_keeps_finds_nothing_and_breaks_nothing(
    tmp_path: Path, url: str
) -> None:
    with running_console(tmp_path, url=url) as console:
        [edit] = console.story.go_live(event("ev-7", "Norland", "Elbing"))
        client = console.client()
        for field in ("text", "subject", "answer", "relation", "event_id"):
            for hostile in ("%00", "No%00where", "%ED%A0%80", "%FF", "%E2%80%AE"):
                page = client.open(f"/facts?{field}=x{hostile}")
                assert page.status_code == 200, (field, hostile)
                assert f'"/console/facts/{edit.id}"' not in page.text
        assert client.open("/facts?subject=Nor%00land").status_code == 200
        client.open(f"/facts/{edit.id}/undo")
        assert client.send(f"/facts/{edit.id}/undo", {"reason": "a feed's \0 fault"}).status_code == 200
        assert console.story.state(edit) == "retracted"


def test_batches_are_held_and_released_with_a_reason_and_a_name(console: RunningConsole) -> None:
    client = console.client()
    client.sign_in(name="Otto")
    client.open("/work")
    held = client.send("/work/hold", {"reason": "the disk is full"})
    assert "batches are held: the disk is full" in Tags(held.text).text
    [hold] = console.ledger.control.holds()
    assert (hold.actor, hold.reason) == ("Otto (this machine)", "the disk is full")
    client.send(f"/work/release/{hold.id}", {"reason": "emptied"})
    assert console.ledger.control.holds() == []
    assert [one.action for one in console.ledger.audit_log.page().entries] == ["release", "hold"]


def test_a_plan_that_waits_is_shown_as_a_difference_and_approved_by_a_person(console: RunningConsole) -> None:
    story = console.story
    story.go_live(event("a", "Norland", "Elbing"))
    older, newer = story.arrive(
        event("b", "Norland", "Rungholt", day=2), event("c", "Norland", "Vineta", day=3)
    )
    client = console.client()
    preview = Tags(client.open("/work/plan").text).text
    assert preview.index("Elbing") < preview.index("Vineta") < preview.index("Conflicts")
    assert "Rungholt" in preview.split("Conflicts")[1]
    batch = PlannedBatch(0, Lane.BATCH, "scen", (newer.id,), "alike")
    number = console.ledger.proposals.propose(Plan(Lane.BATCH, 0, (batch,)))
    assert "a plan waits for approval" in client.open("/").text
    client.open(f"/proposals/{number}")
    assert client.send(f"/proposals/{number}/approve", {"reason": "looks right"}).status_code == 200
    assert [story.state(edit) for edit in (older, newer)] == ["pending", "planned"]
    client.open(f"/proposals/{number}")
    assert client.send(f"/proposals/{number}/decline", {"reason": "late"}).status_code in (403, 409)
    assert "a plan waits for approval" not in client.open("/").text


def test_the_place_of_a_fault_is_found_in_the_text() -> None:
    def letter(reason: str, value: str) -> DeadLetter:
        return DeadLetter(0, 0, START, "not_json", reason, "t", 0, 1, None, value, len(value), None)

    found = fault_of(letter("not JSON: line 2 column 3 (char 5)", "{\n  ,}"))
    assert found is not None
    assert (found.line, found.column, found.before, found.at, found.behind) == (2, 3, "  ", ",", "}")
    for reason in ("too large", "line 9 column 1", "line 1 column 99"):
        assert fault_of(letter(reason, "{")) is None


@pytest.mark.slow
def test_upkeep_console_opens_without_a_model_and_says_when_no_server_answers(tmp_path: Path) -> None:
    port, nobody = free_port(), free_port()
    settings = tmp_path / "upkeep.toml"
    settings.write_text(f"[console]\nport = {port}\nserver = 'http://127.0.0.1:{nobody}'\n")
    program = (
        "import sys, threading; from daemon.settings.settings import load_settings\n"
        "from daemon.console.console_role import run\nfrom pathlib import Path\n"
        "stop = threading.Event(); threading.Thread(target=lambda: (sys.stdin.read(), stop.set())).start()\n"
        "run(load_settings(Path(sys.argv[1])), stop)\n"
        "print({name for name in ('torch', 'transformers') if name in sys.modules})\n"
    )
    command = [sys.executable, "-c", program, str(settings)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(f"{url}/healthz"))
        assert httpx.get(f"{url}/", follow_redirects=True).url.path == "/console/"
        for path in ("/facts", "/ask", "/failures", "/checks", "/work", "/audit"):
            assert httpx.get(f"{url}/console{path}", timeout=20).status_code == 200
        asked = httpx.get(f"{url}/console/ask?prompt=x", timeout=20)
        assert "no server answers" in asked.text
        reported, _ = process.communicate("", timeout=30)
    assert reported.splitlines()[-1] == "set()"


def test_a_batch_that_was_split_says_what_it_was_and_how_often_it_was_tried(console: RunningConsole) -> None:
    story = console.story
    edits = story.arrive(event("a", "Norland"), event("b", "Sorland"))
    story.plan(edits)
    batch = story.claim()
    console.ledger.batches.split(
        batch.id, batch.token, ((edits[0].id,), (edits[1].id,)), reason="its worker ended with code 137"
    )
    page = console.client().open("/failures").text
    split = Tags(page.split('id="split"')[1]).text
    assert f"{batch.id} of plan {batch.plan_id}" in split
    assert "its worker ended with code 137" in split
    assert "None." not in split


def test_of_a_batch_that_was_split_the_failures_say_where_its_halves_stand_now(tmp_path: Path) -> None:
    clock = Clock()
    with running_console(tmp_path, clock=clock) as console:
        story, split = console.story, console.ledger.batches.split
        edits = story.arrive(*(event(name, name) for name in ("A", "B", "C", "D", "E")))
        ids = [edit.id for edit in edits]
        story.plan(edits[:4], edits[4:])
        whole = story.claim()
        clock.advance(1)
        halves = split(whole.id, whole.token, (ids[:2], ids[2:4]), reason="its worker ended")
        first = story.claim()
        clock.advance(1)
        quarters = split(first.id, first.token, ([ids[0]], [ids[1]]), reason="its worker ended")
        clock.advance(1)
        story.publish(story.claim())
        client = console.client()
        rows = client.open("/failures").text.split('id="split"')[1].split("<tr ")[2:]
        said = [" ".join(Tags(row).text.split()) for row in rows]
        leading = re.findall(r'href="([^"]+batch=\d+)"', rows[1])
        listed = [client.open(f"/facts?batch={number}").text for number in (whole.id, first.id, halves[1])]
    assert all(f"batch {number}: waits for a worker (1 planned)" in said[0] for number in quarters)
    assert f"batch {halves[0]}: split again batch {halves[1]}: done (2 live)" in said[1]
    assert f'href="#batch-{first.id}">split again<' in rows[1]
    assert f'id="batch-{first.id}"' in rows[0]
    assert leading == [f"/console/facts?batch={number}" for number in (whole.id, *halves)]
    found = [[name for name in ids if f'"/console/facts/{name}"' in page] for page in listed]
    assert found == [ids[:4], ids[:2], ids[2:4]]


def test_pages_that_name_a_batch_lead_to_its_facts(console: RunningConsole) -> None:
    story = console.story
    [edit] = story.go_live(event("a"))
    story.plan(story.arrive(event("b", "Sudland")), story.arrive(event("c", "Ostland")))
    running = story.claim()
    console.ledger.control.workers_seen("worker-1", "cpu", running.id)
    client = console.client()
    named = {"/": 1, "/generations/1": 1, f"/facts/{edit.id}": 1, "/work": running.id}
    for path, number in named.items():
        assert f'href="/console/facts?batch={number}"' in client.open(path).text, path
    assert client.page.text.count('href="/console/facts?batch=') == 3, (
        "in work, waiting, and beside its worker"
    )


def test_work_tells_who_runs_which_batch_how_long_still_and_which_workers_are_gone(tmp_path: Path) -> None:
    clock = Clock()
    with running_console(tmp_path, clock=clock, session_clock=clock) as console:
        story, control = console.story, console.ledger.control
        for name in ("First", "Second", "Third"):  # the remaining time is taken from these
            story.plan(story.arrive(event(name, name)))
            batch = story.claim()
            clock.advance(40)
            story.publish(batch)
        control.workers_seen("a-lost-one", "cuda:1", 1)
        clock.advance(3600)
        story.plan(story.arrive(event("now", "Norland")))
        batch = story.claim(worker="busy-one")
        control.workers_seen("busy-one", "cuda:0", batch.id)
        clock.advance(10)
        page = console.client().open("/work").text
    rows = [" ".join(Tags(f"<tr {row}").text.split()) for row in page.split("<tr ")]
    [running] = [row for row in rows if row.startswith(f"{batch.id} of plan {batch.plan_id}")]
    assert "busy-one 10 s 25 % about 30 s" in running
    alive, gone = (row for row in rows if "cuda" in row)
    assert alive.startswith(f"busy-onealivecuda:0batch {batch.id}"), "those alive come first"
    assert gone.startswith("a-lost-onegonecuda:1was at batch 1")
