"""The demo's end: the summary as JSON, and the tables from which a reader can check it by eye."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from daemon.cli.output import shown, table
from daemon.ledger.values import CheckResult
from demo.play.accounts import Accounts
from demo.play.scoring import GENERALITY, LOCALITY, RELIABILITY, STALE, Answers, Scores
from demo.play.watch import named
from demo.stream.stream import DemoStream, ExpectedAnswer
from demo.world.world import World

# How many facts of which kind a reader is shown.
NEWS, OTHER_REAL = 6, 3


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything the demo found out; it passed if there is no problem."""

    accounts: Accounts
    scores: Scores
    regression: Mapping[str, float | None]
    generation: int
    seconds: float
    seed: int
    places: Mapping[str, str]
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every record is accounted for and every score holds."""
        return not self.problems

    def as_json(self) -> str:
        """One JSON object."""
        accounts, scores = self.accounts, self.scores
        content: dict[str, Any] = {
            "passed": self.passed,
            "problems": list(self.problems),
            "events_published": accounts.published,
            "events_accounted": accounts.accounted,
            "duplicates": accounts.duplicates,
            "dead_lettered": accounts.dead_lettered,
            "dead_letter_reasons": dict(accounts.dead_letter_reasons),
            "edits": dict(accounts.edits),
            "rejected": dict(accounts.rejected),
            "outcomes_published": accounts.outcomes_published,
            "reliability": scores.reliability,
            "generality": scores.generality,
            "locality": dict(scores.locality),
            "stale_answer_rate": scores.stale_answer_rate,
            "retracted_as_base": scores.retracted_as_base,
            "asked": dict(scores.asked),
            "regression": dict(self.regression),
            "generation": self.generation,
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
            **self.places,
        }
        return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def facts_to_see(stream: DemoStream, world: World) -> list[ExpectedAnswer]:
    """A few facts to check by eye: true news, other changes of real things, one superseded, one retracted."""
    live = [fact for fact in stream.expectations if fact.state == "live"]
    news = [fact for fact in live if fact.real_news]
    real = [f for f in live if not f.real_news and not f.stale and world.fact(f.subject, f.relation).real]
    superseded = [fact for fact in live if fact.stale]
    retracted = [fact for fact in stream.expectations if fact.state == "retracted"]
    return [*news[:NEWS], *real[:OTHER_REAL], *superseded[:1], *retracted[:1]]


def print_facts(console: Console, facts: Sequence[ExpectedAnswer], answers: Answers) -> None:
    """Base answer, edited answer, a paraphrase that was never trained, an unrelated prompt."""
    rows = []
    for fact in facts:
        paraphrase, other = fact.held_out_prompts[0], fact.relation_locality_prompts[0]
        how = {"live": "", "retracted": " (retracted)"}[fact.state]
        how = f" (before: {fact.stale[-1]})" if fact.stale and fact.state == "live" else how
        verdict = "as before" if answers.same(other) else f"WAS {answers.base[other]}"
        rows.append(
            (
                fact.prompt,
                answers.base[fact.prompt],
                f"{answers.edited[fact.prompt]}{how}",
                f"{paraphrase} {answers.edited[paraphrase]}",
                f"{other} {answers.edited[other]} ({verdict})",
            )
        )
    console.print(
        table(
            "Facts to check by eye",
            ("asked", "base's answer", "the model says now", "asked in other words", "of another subject"),
            rows,
        )
    )


def print_summary(console: Console, summary: Summary) -> None:
    """Totals, scores and the verdict."""
    accounts, scores = summary.accounts, summary.scores
    totals = [
        ("records published", accounts.published),
        ("of these accounted for", accounts.accounted),
        ("edits", named(accounts.edits)),
        ("duplicates", accounts.duplicates),
        ("dead letters", f"{accounts.dead_lettered}: {named(accounts.dead_letter_reasons)}"),
        ("outcomes told to Kafka", accounts.outcomes_published),
        ("generation", summary.generation),
        ("seconds", f"{summary.seconds:.1f}"),
    ]
    console.print(table("What became of every record", ("what", "how many"), totals))
    asked = scores.asked
    rows = [
        ("reliability", scores.reliability, f">= {RELIABILITY}", asked["reliability"]),
        ("generality (phrasings never trained)", scores.generality, f">= {GENERALITY}", asked["generality"]),
        *(
            (f"locality, {kind}", scores.locality[kind], f">= {bar}", asked[f"locality/{kind}"])
            for kind, bar in LOCALITY.items()
        ),
        ("stale-answer rate", scores.stale_answer_rate, f"<= {STALE}", asked["stale"]),
        ("retracted facts answer as the base", scores.retracted_as_base, "", asked["retracted"]),
    ]
    console.print(
        table(
            "Scores of the final model, by free greedy generation", ("score", "is", "must be", "asked"), rows
        )
    )
    for prompt, reason in accounts.rejected.items():
        console.print(shown(f"rejected: {prompt!r}: {reason}"), markup=False)
    for problem in summary.problems:
        console.print(shown(f"FAILED: {problem}"), style="bold red", markup=False)
    if summary.passed:
        console.print("Every record is accounted for, and every score holds.", style="bold green")


def regression_problems(results: Sequence[CheckResult]) -> list[str]:
    """The suites that did not pass."""
    return [
        f"the regression of suite {result.suite!r} did not pass" for result in results if not result.passed
    ]
