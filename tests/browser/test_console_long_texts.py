"""Names, addresses and ids as long as real ones are: on desk and phone no word is torn and nothing reaches over the edge."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser_support import WIDTHS, broken_words, opened, overflow, running_browser, serious_faults
from support.console_support import RunningConsole, running_console
from support.ledger.ledger_backends import Clock, event

from daemon.ledger.values import Act, CheckResult, RejectedEdit

pytestmark = pytest.mark.slow

SUBJECT = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
WORKER = "upkeep-worker-7d9f8b6c5d-x2x4z.upkeep-production.svc.cluster.local:12345"
TICKET = "https://tickets.example.com/browse/OPS-1234567890?focusedCommentId=1234567#comment-1234567"
PERSON = "anna.van.der.berg@operations.example.com"
SUITE = "customers_of_the_north_eastern_region"
PAGES = (
    *("/", "/facts", "/facts?batch=3", "/facts/1", "/facts/3", "/failures", "/checks", "/work", "/work/plan"),
    *("/audit", "/generations/1/undo"),
)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    clock = Clock()
    with running_console(tmp_path_factory.mktemp("long"), clock=clock) as console:
        _fill(console, clock)
        yield console


def _fill(console: RunningConsole, clock: Clock) -> None:
    story, ledger = console.story, console.ledger
    [first] = story.go_live(event("urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66", SUBJECT, "Bern"))
    story.go_live(event("other", "Norland", SUBJECT))
    edits = story.arrive(event("a", "Atlantis"), event("b", "Borduria"))
    story.plan(edits)
    batch = story.claim(worker=WORKER)
    clock.advance(60)
    ledger.batches.split(batch.id, batch.token, ([edits[0].id], [edits[1].id]), reason=f"{WORKER} died")
    rejected = {edits[0].id: RejectedEdit(f"see {TICKET}", {"reliability": 0.2})}
    story.publish(story.claim(worker=WORKER), live={}, rejected=rejected)
    half = story.claim(worker=WORKER)
    for name in (WORKER, f"a-{WORKER}"):
        ledger.control.workers_seen(name, "cuda:0", half.id)
    ledger.checks.request(None, "interval")
    check = ledger.checks.claim(WORKER, lease_seconds=60)
    assert check is not None
    scores = {"locality": 0.93, "locality_low": 0.9, "locality_high": 0.95}
    ledger.checks.finish(check.id, check.token, [CheckResult(SUITE, 2, clock(), False, scores, 200)])
    ledger.control.hold(f"{TICKET} says wait", actor=PERSON)
    ledger.reversals.undo_fact(first.id, Act(PERSON, f"wrong feed, see {TICKET}"))
    story.arrive(event("waits", SUBJECT, SUBJECT, day=9))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(params=list(WIDTHS.values()), ids=list(WIDTHS))
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    with opened(browser, request.param) as page:
        yield page


@pytest.mark.parametrize("path", PAGES)
def test_no_word_is_torn_and_nothing_reaches_over_the_edge(
    console: RunningConsole, page: Page, path: str
) -> None:
    page.goto(f"{console.url}/console{path}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert overflow(page) == []
    tops = page.locator(".menu a").evaluate_all("all => all.map(one => one.getBoundingClientRect().top)")
    assert len(set(tops)) == 1, "the menu stands on one line"
    assert broken_words(page) == []
    assert serious_faults(page) == []
