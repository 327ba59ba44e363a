"""The check report and a plan's page on a phone: nothing beyond the edge, no word torn, axes and floors in words."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser_support import WIDTHS, broken_words, opened, overflow, running_browser, serious_faults
from support.ledger.ledger_backends import START

from monitoring.checks.report import Point, Report, Step, render
from monitoring.checks.tally import Failure
from planners import Pending, PlannerSettings, ShownChange, ShownConflict, TfidfEmbedder, plan, render_plot

pytestmark = pytest.mark.slow

LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(params=WIDTHS)
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    with opened(browser, WIDTHS[request.param]) as page:
        yield page


def _report() -> Report:
    shares = (1.0, 0.995, 0.97)
    scores = {"locality": 0.97, "kl_p99": 0.2, "perplexity_ratio": 1.01, "drift": 3.5, "drift_alarm": 1.0}
    kept = {"retention": 0.98, "retention_7d": 0.97, "retention_rephrase": 0.9}
    far = [
        Point(n, START + timedelta(hours=n), s > 0.98, s, s - 0.01, s, 600, scores)
        for n, s in enumerate(shares)
    ]
    retention = [Point(n, START, True, 0.98, 0.96, 1.0, 300, kept) for n in range(3)]
    wrong = Failure(prompt=LONG, wanted="the bell", given=LONG, fired="17", kl=1.5)
    return Report(
        made_at=START,
        base_hash="b" * 64,
        suites={"far": far, "retention": retention},
        worst={"far": (wrong,)},
        generations=[Step(2, START, LONG)],
        held="somebody has to look",
        floors={"far": 0.99, "retention": 0.95},
    )


def test_the_check_report_can_be_read_at_every_width(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(_report()), encoding="utf-8")

    page.goto(file.as_uri())

    assert (serious_faults(page), overflow(page), broken_words(page)) == ([], [], [])
    far = page.locator("svg").first
    for words in ("share of answers that stayed", "floor 0.99", "generation that was checked"):
        expect(far).to_contain_text(words)
    expect(page.get_by_text("KL divergence from the base, 99th percentile")).to_be_visible()
    expect(page.get_by_text("0.2 nats")).to_be_visible()


def test_a_plans_page_can_be_read_at_every_width(page: Page, tmp_path: Path) -> None:
    edits = [
        Pending(
            str(n),
            "assert",
            f"Land {n}",
            "capital",
            f"The capital of Land {n} is",
            f"f{n}",
            f"p{n}",
            False,
            START,
            n,
        )
        for n in range(60)
    ]
    draft = plan(edits, rivals=[], settings=PlannerSettings(), embedder=TfidfEmbedder())
    changes = [ShownChange(LONG, f"The capital of {LONG} is", LONG, "Elbing", 0)]
    file = tmp_path / "plan.html"
    conflicts = [ShownConflict("Norland", "Vineta", LONG)]
    file.write_text(render_plot(draft, {}, changes=changes, conflicts=conflicts), encoding="utf-8")

    page.goto(file.as_uri())

    assert (serious_faults(page), overflow(page), broken_words(page)) == ([], [], [])
    table, drawing = page.get_by_text("Elbing"), page.locator("svg").first
    above, below = table.bounding_box(), drawing.bounding_box()
    assert above is not None
    assert below is not None
    assert above["y"] < below["y"]
    expect(drawing).to_contain_text("first principal component")
