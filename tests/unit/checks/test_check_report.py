"""The page that `upkeep check --report` writes: whole in itself, and safe whatever events and models say."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.ledger.ledger_backends import START, Clock, Story, event

from daemon.checks.check_report import check_report
from daemon.ledger.values import CheckResult
from monitoring.checks.report import MAX_TEXT_CHARS, render
from monitoring.checks.score_words import worded_scores
from monitoring.checks.share_plot import SharePoint, share_plot
from monitoring.checks.tally import Failure, ProbeTally, RetentionTally

HOSTILE = "<script>alert(1)</script>\" onload='x' \N{RIGHT-TO-LEFT OVERRIDE}evil\x1b[31m&"


@pytest.fixture
def url(tmp_path: Path, migrated_sqlite: Path) -> str:
    (tmp_path / "ledger.db").write_bytes(migrated_sqlite.read_bytes())
    return f"sqlite:///{tmp_path / 'ledger.db'}"


class Page(HTMLParser):
    """Which tags with which attributes a browser would see, and which text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "circle", "rect", "polyline", "polygon"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("circle", "rect", "polyline", "polygon"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def keep(story: Story, clock: Clock, result: CheckResult, *worst: Failure) -> None:
    story.ledger.checks.request(None, "test")
    claimed = story.ledger.checks.claim("w", lease_seconds=60)
    assert claimed is not None
    story.ledger.checks.finish(claimed.id, claimed.token, [result], worst={result.suite: worst})
    clock.advance(900)


def locality(share: float) -> dict[str, float | None]:
    return {"locality": share, "locality_low": share - 0.02, "locality_high": 1.0, "expected": None}


def test_the_page_tells_every_suite_its_worst_probes_and_retention_by_age(story: Story, clock: Clock) -> None:
    story.go_live(event("e"))
    keep(story, clock, CheckResult("far", 0, clock(), True, locality(1.0), 500))
    wrong = Failure(prompt="Who rings?", wanted="the bell", given="Elbing", fired="1", kl=2.5)
    keep(story, clock, CheckResult("far", 1, clock(), False, locality(0.93), 500), wrong)
    aged = {"retention": 0.98, "retention_1d": 1.0, "retention_7d": 0.97, "retention_rephrase": 0.9}
    keep(story, clock, CheckResult("retention", 1, clock(), True, aged, 400))
    story.ledger.control.hold("look at this")

    page = Page(render(check_report(story.ledger, clock=clock)))

    assert page.open == []
    for reported in (
        "Who rings?",
        "the bell",
        "Elbing",
        "answered by edit 1",
        "look at this",
        "FAILED",
        "0.97",
    ):
        assert reported in page.text
    drawn = [attributes for tag, attributes in page.tags if tag == "circle"]
    assert [dot["fill"] for dot in drawn] == ["#0969da", "#b3261e"]
    assert "max-width" in render(check_report(story.ledger, clock=clock))
    assert ("meta", {"name": "viewport", "content": "width=device-width,initial-scale=1"}) in page.tags


def test_nothing_that_an_event_or_a_model_says_becomes_markup_or_leaves_the_page(
    story: Story, clock: Clock
) -> None:
    wrong = Failure(prompt=HOSTILE, wanted=HOSTILE * 50, given=HOSTILE, fired=HOSTILE)
    for generation in (0, 1):
        story.go_live(event(f"e{generation}", f"Land {generation}"))
        keep(story, clock, CheckResult(HOSTILE, generation, clock(), False, locality(0.5), 10), wrong)
    story.ledger.control.hold(HOSTILE)

    text = render(check_report(story.ledger, clock=clock))
    page = Page(text)

    assert {tag for tag, _ in page.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "b", "br", "span", "div"),
        *(
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "svg",
            "circle",
            "polygon",
            "polyline",
            "rect",
            "text",
        ),
    }
    assert not any(
        name.startswith("on") or name in ("href", "src") for _, attributes in page.tags for name in attributes
    )
    assert "<script>alert(1)</script>" in page.text, "shown as text"
    assert not set("\x1b\N{RIGHT-TO-LEFT OVERRIDE}") & set(text)
    longest = MAX_TEXT_CHARS // len(HOSTILE) + 1  # copies of it in the one text that repeats it
    assert page.text.count("alert(1)") < longest + 20
    assert "http" not in text.lower().replace("http-equiv", "")


def test_a_ledger_without_checks_gives_a_page_that_says_so(story: Story, clock: Clock) -> None:
    assert "No check was run yet" in Page(render(check_report(story.ledger, clock=clock))).text


def test_a_plot_has_axes_with_their_units_the_floor_and_every_check_within_its_field() -> None:
    shares = [0.999, 0.97, 0.93, 1.0]
    points = [
        SharePoint(10 + number, START, share > 0.95, share, share - 0.01, min(1.0, share + 0.01))
        for number, share in enumerate(shares)
    ]

    plot = share_plot(points, 0.99)

    assert plot is not None
    assert [tick.text for tick in plot.y_ticks] == ["1", "0.98", "0.96", "0.94", "0.92"]
    assert [tick.text for tick in plot.x_ticks] == ["10", "11", "12", "13"]
    assert plot.floor is not None
    heights = {tick.text: float(tick.place) for tick in plot.y_ticks}
    assert heights["1"] < float(plot.floor[0]) < heights["0.98"]
    assert plot.floor[2] == "floor 0.99"
    for (x, y, point), share in zip(plot.dots, shares, strict=True):
        assert point.share == share
        assert plot.left <= float(x) <= plot.right
        assert plot.top <= float(y) <= plot.base
    assert share_plot(points[:1], 0.99) is None


def test_every_score_that_a_check_gives_has_words() -> None:
    given = {**ProbeTally().scores(), **RetentionTally().scores(), "drift": 1.0, "drift_alarm": 1.0}
    reported = worded_scores(dict.fromkeys(given, 0.5))

    assert not [words for words, _ in reported if "_" in words]
    assert ("KL divergence from the base, 99th percentile", "0.5 nats") in reported
    assert ("answers that stayed as the base's", "0.5 (95 % interval 0.5 to 0.5)") in reported
    assert len({words for words, _ in reported}) == len(reported)
