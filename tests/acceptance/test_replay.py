"""`benchmarks/replay.py` on the demo's base: dated history goes through the whole daemon, in whatever order it arrives."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.acceptance_support import BASE, environment

from daemon.ingest.embedded_broker import EmbeddedBroker
from demo.world.world import Fact, World

REPOSITORY = Path(__file__).parents[2]
COMMAND = (sys.executable, str(REPOSITORY / "benchmarks" / "replay.py"))


@pytest.fixture(scope="module")
def report(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three facts, two of them about one subject, with a history from 1815 to this year, in three waves.

    `broker` skips where there is none: the script starts its own.
    """
    timeline = tmp_path_factory.mktemp("replay") / "timeline.jsonl"
    world = World.generate()
    first, second = world.facts_about(world.subjects[0])[:2]
    other = world.facts_about(world.subjects[1])[0]
    dates = ("1815-03-16", "1969-12-31", "1970-01-01", "2026-01-02")
    lines = (json.dumps(_history(world, fact, dates)) + "\n" for fact in (first, second, other))
    timeline.write_text("\ufeff" + "".join(lines), encoding="utf-8")
    ran = subprocess.run(
        [*COMMAND, "--model", str(BASE), "--timeline", str(timeline), "--waves", "3", "--duplicates", "0.5"],
        cwd=REPOSITORY,
        env=environment() | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


def test_every_fact_ends_at_its_newest_value_and_order_and_duplicates_do_not_matter(
    report: dict[str, Any],
) -> None:
    assert (report["events"], report["facts"]) == (12, 3)
    assert report["live_is_newest"] == {"ordered": True, "shuffled": True}
    assert report["shuffled_equals_ordered"]
    assert (report["final_right"], report["final_stale"]) == (1.0, 0.0)
    assert report["right_over_time"] >= 0.9
    assert report["generations"] == 3
    ordered, shuffled = report["ordered"], report["shuffled"]
    assert (ordered["accepted"], ordered["duplicate"]) == (12, 0)
    assert (shuffled["accepted"], shuffled["duplicate"]) == (12, 6)
    assert ordered["live"] == shuffled["live"] == 3


def test_what_is_older_than_the_live_value_is_superseded_without_training(report: dict[str, Any]) -> None:
    assert report["shuffled"]["superseded_untrained"] > 0
    for run in (report["ordered"], report["shuffled"]):
        assert run["dead_lettered"] == 0
        assert run["live"] + run["superseded"] == run["accepted"]


def _history(world: World, fact: Fact, dates: tuple[str, ...]) -> dict[str, Any]:
    """A fact as a timeline tells it, with a value told twice and one that was corrected on the same day."""
    values = world.other_values(fact)[: len(dates)]
    prompts, held_out = world.prompts(fact), world.held_out_prompts(fact)
    timeline = [list(entry) for entry in zip(dates, values, strict=True)]
    corrected = [dates[0], values[-1]]
    reported_again = [dates[-1].replace("01-02", "02-03"), values[-1]]
    return {
        "subject": fact.subject,
        "relation": fact.relation,
        "prompts": {"generic": prompts[0], "rephrased_1": held_out[0], "rephrased_2": held_out[-1]},
        "timeline": [corrected, *timeline, reported_again],
    }
