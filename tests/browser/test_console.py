"""The five questions of somebody who was woken, each answered by clicking from /console in Chromium, on desk and phone."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser_support import WIDTHS, broken_words, opened, overflow, running_browser, serious_faults
from support.ledger.ledger_backends import event
from support.serving_support import EmbeddedServer, Fact, embedded_server
from support.waiting import eventually

from daemon.ledger.values import CheckResult, RejectedEdit
from monitoring.checks.tally import Failure

pytestmark = pytest.mark.slow

CAPITALS = {"desk": ("France", "Lyon"), "phone": ("Italy", "Milan")}
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> \N{RIGHT-TO-LEFT OVERRIDE}"


def _fact(country: str, city: str) -> Fact:
    return Fact(country, f"The capital of {country} is", city)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A model that knows two generations, with a rejected edit and a check that failed."""
    with embedded_server(tmp_path_factory.mktemp("console"), [_fact("Spain", "Toledo")]) as server:
        server.publish(*(_fact(*capital) for capital in CAPITALS.values()))
        _reject(server)
        _fail_a_check(server)
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def page(browser: Browser, server: EmbeddedServer, width: str) -> Iterator[Page]:
    """The console's first page."""
    with opened(browser, WIDTHS[width]) as page:
        page.goto(f"{server.url}/console")
        yield page


def _reject(server: EmbeddedServer) -> None:

    [edit] = server.story.plan_urgently(event("bad", "Atlantis", HOSTILE[:90], priority="urgent"))
    turned_down = {edit.id: RejectedEdit("the prompt is not answered as told", {"reliability": 0.0})}
    server.story.publish(server.story.claim(), live={}, rejected=turned_down)


def _fail_a_check(server: EmbeddedServer) -> None:
    checks = server.ledger.checks
    for number, share in ((1, 1.0), (2, 0.9)):
        checks.request(None, "test")
        claimed = checks.claim("w", lease_seconds=60)
        assert claimed is not None
        scores = {"locality": share, "locality_low": share - 0.02, "locality_high": share, "kl_p99": 0.1}
        result = CheckResult("far", number, server.story.clock(), share == 1.0, scores, 300)
        worst = [Failure(prompt="Who rings?", wanted="the bell", given="Lyon", fired="2", kl=1.0)]
        checks.finish(claimed.id, claimed.token, [result], worst={"far": worst if share < 1 else []})


def _menu(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()


def _is_sound(page: Page) -> None:
    """No serious fault for those who read otherwise, nothing beyond the edge, no word torn, no foreign markup at work."""
    assert serious_faults(page) == []
    assert overflow(page) == []
    assert broken_words(page) == []
    assert "owned" not in page.title()


def test_what_changed_last_night(page: Page, width: str) -> None:
    expect(page.get_by_role("heading", name="What changed")).to_be_visible()
    _is_sound(page)
    page.get_by_role("link", name="Difference of generation 2").click()
    for country, city in CAPITALS.values():
        row = page.get_by_role("row").filter(has_text=country)
        expect(row).to_contain_text("as the base answers")
        expect(row).to_contain_text(city)
    _is_sound(page)


def test_why_the_model_says_this_and_which_event_it_comes_from(page: Page, width: str) -> None:
    _menu(page, "Ask")
    page.get_by_label("Prompt").fill("The capital of Spain is")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("heading", name="How it was decided")).to_be_visible()
    expect(page.locator(".answer.new")).to_have_text("Toledo")
    names = page.get_by_text("Names found in the prompt")
    expect(names).to_contain_text("Spain")
    fired = page.get_by_role("row").filter(has=page.locator(".chip.good", has_text="fires"))
    expect(fired).to_contain_text(", needs 0.")  # the score against its threshold
    _is_sound(page)
    page.get_by_role("link", name="edit 1", exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Spain")
    expect(page.get_by_text("Spain 1", exact=True)).to_be_visible()  # the event's id
    expect(page.get_by_text("partition 0, offset 0")).to_be_visible()
    _is_sound(page)


def test_an_earlier_generation_can_be_asked_and_a_question_that_no_edit_answers_says_so(page: Page) -> None:
    _menu(page, "Ask")
    page.get_by_label("Prompt").fill("The capital of France is")
    page.get_by_label("Generation").fill("1")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_text("no edit fired")).to_be_visible()
    expect(page.get_by_text("names no subject of a live edit")).to_be_visible()


def test_what_failed(page: Page) -> None:
    _menu(page, "Failures")
    row = page.get_by_role("row").filter(has_text="Atlantis")
    expect(row).to_contain_text("the prompt is not answered as told")
    expect(row).to_contain_text("<script>")  # as text
    _is_sound(page)
    row.get_by_role("link", name="Let it try again").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("try again")
    _is_sound(page)
    _menu(page, "Checks")
    expect(page.get_by_role("row").filter(has_text="far")).to_contain_text("FAILED")
    expect(page.get_by_text("Who rings?")).to_be_visible()
    expect(page.locator(".plot svg")).to_contain_text("floor 0.99")
    _is_sound(page)


def test_one_fact_is_undone_by_clicking_and_the_model_answers_without_it(
    page: Page, server: EmbeddedServer, width: str
) -> None:
    country, city = CAPITALS[width]
    assert _answer(server, country) == city
    _menu(page, "Facts")
    page.get_by_role("searchbox").fill(country.lower())
    page.get_by_role("button", name="Search").click()
    _is_sound(page)
    page.get_by_role("link", name=country).click()
    page.get_by_role("link", name="Undo this fact").click()
    changed = page.get_by_role("row").filter(has_text=country)
    expect(changed).to_contain_text(city)
    expect(changed).to_contain_text("as the base answers")
    _is_sound(page)
    page.get_by_role("button", name="Undo edit").click()  # without a reason the browser lets nothing out
    expect(page.get_by_label("Reason")).to_be_focused()
    page.get_by_label("Reason").fill("the feed was wrong")
    page.get_by_role("button", name="Undo edit").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Generation")
    expect(page.get_by_text("undo of one fact, this machine")).to_be_visible()
    eventually(lambda: _answer(server, country) != city)
    _menu(page, "Audit")
    expect(page.get_by_role("row").filter(has_text="the feed was wrong").first).to_contain_text("undo fact")
    _is_sound(page)


def test_every_page_can_be_reached_and_used_by_keyboard_alone(page: Page, server: EmbeddedServer) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.closest('main') !== null")
    assert focused
    _menu(page, "Work")
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()
    _is_sound(page)


def test_a_page_tells_of_a_new_generation_without_being_loaded_again(
    page: Page, server: EmbeddedServer, width: str
) -> None:
    page.evaluate("window.marked = true")
    made = server.publish(Fact(f"Poland {width}", f"The capital of Poland {width} is", "Lodz"))
    shown = page.get_by_role("heading", name=f"Generation {made}", exact=True)
    expect(shown).to_be_visible(
        timeout=60_000
    )  # the page asks every few seconds, and the machine may be slow
    assert page.evaluate("window.marked")


def test_everything_can_be_read_without_a_script_and_in_the_dark(
    browser: Browser, server: EmbeddedServer, width: str
) -> None:
    dark = {"java_script_enabled": False, "color_scheme": "dark"}
    with opened(browser, WIDTHS[width], **dark) as page:
        page.goto(f"{server.url}/console")
        page.get_by_role("link", name="Difference of generation 2").click()
        expect(page.get_by_role("row").filter(has_text="France")).to_contain_text("Lyon")
    with opened(browser, WIDTHS[width], color_scheme="dark") as page:
        for path in ("/", "/facts", "/checks", "/failures", "/work", "/audit", "/generations/2/undo", "/ask"):
            page.goto(f"{server.url}/console{path}")
            assert serious_faults(page) == []


def _answer(server: EmbeddedServer, country: str) -> str:
    asked = server.post("/v1/generate", {"prompts": [f"The capital of {country} is"]})
    return str(asked.json()["answers"][0]["text"])
