"""Does a check notice an edit that changes 1 % of a suite, and does it keep quiet about a model that did not change?

    python benchmarks/detection.py --repetitions 200

Prints one JSON object. The sampler, the floor, the drift test and the ledger's trail are the worker's own
(`checks.check_run`); the model is simulated. A stream is a suite of `--suite` probes of which some are known to differ
from the base (`--known`, a share: what earlier edits did and everybody accepted), checked again and again with a fresh
sample each time; then an edit changes another 1 % at random, and the very next check must fail. The known differences
have a place of their own in the report below: with none, the unchanged model is the base bit for bit and no alarm is
possible; the harder streams show what that is worth.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from culprits import SimulatedAnswer

from daemon.checks.check_context import CheckContext
from daemon.checks.check_run import CheckRun
from daemon.checks.claimed_check import work_on_check
from daemon.ledger import Ledger, open_ledger, utc_now
from daemon.ledger.values import CheckResult
from daemon.process.log import configure_logging
from daemon.settings.settings import Settings
from daemon.settings.tables import LogSettings, MonitoringSettings
from edits.prompts import Prompt
from monitoring.checks.regression import Changed

KNOWN = (0.0, 0.002, 0.005)  # shares of the suite that differ from the base and always did
CHANGED = 0.01


@dataclass
class SimulatedModel:
    """Says "base" to every prompt but those that the edits changed."""

    changed: set[str] = field(default_factory=set)
    generation: int = 0
    base_hash: str = "base"

    @property
    def asks_chat(self) -> bool:
        return False

    def fits(self, prompt: Prompt) -> bool:
        return True

    def named(self, text: str) -> set[str]:
        return set()

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> list[SimulatedAnswer]:
        return [
            SimulatedAnswer("edited", "1") if prompt in self.changed else SimulatedAnswer("base")
            for prompt in prompts
        ]

    def generate_base(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[SimulatedAnswer]:
        return [SimulatedAnswer("base") for _ in prompts]

    def divergences(self, prompts: Sequence[str]) -> list[float]:
        return [1.0 for _ in prompts]

    def text_changes(self, texts: Sequence[str]) -> list[Changed]:
        raise AssertionError("the suite holds no text")

    @property
    def unserved(self) -> frozenset[str]:
        return frozenset()

    def own_expert(self, edit_id: str, fired: str | None) -> bool | None:
        raise AssertionError("no live edit is asked")

    @contextmanager
    def at(self, generation: int) -> Iterator[None]:
        yield

    @contextmanager
    def without(self, edit_ids: Collection[str]) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class Stream:
    """What came of the streams of one share of known differences."""

    caught: int
    repetitions: int
    alarms: int
    checks: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--suite", type=int, default=6_000)
    parser.add_argument("--checks", type=int, default=20, help="checks of the unchanged model in each stream")
    parser.add_argument(
        "--streams", type=int, default=10, help="streams; the repetitions are shared out to them"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    configure_logging(LogSettings(level="error"), "benchmark")
    found = {}
    for known in KNOWN:
        found[known] = simulate(known, options)
        sys.stderr.write(f"known differences {known:.1%}: {found[known]}\n")
    print(
        json.dumps(
            {
                "power_1_percent": min(stream.caught / stream.repetitions for stream in found.values()),
                "false_alarms_per_100": max(100 * s.alarms / s.checks for s in found.values()),
                "by_known_differences": {
                    str(known): {
                        "power": stream.caught / stream.repetitions,
                        "false_alarms_per_100": 100 * stream.alarms / stream.checks,
                    }
                    for known, stream in found.items()
                },
                "repetitions": options.repetitions,
                "suite": options.suite,
            }
        )
    )


def simulate(known: float, options: argparse.Namespace) -> Stream:
    """Streams of checks of an unchanged model, each followed by edits that change 1 %, one after the other."""
    prompts = [f"Question {number}?" for number in range(options.suite)]
    caught = alarms = checks = 0
    each = max(1, options.repetitions // options.streams)
    for stream in range(options.streams):
        rng = random.Random(f"{options.seed} {known} {stream}")
        differing = set(rng.sample(prompts, round(known * len(prompts))))
        with watched(prompts) as (ledger, settings):
            model = SimulatedModel(differing)
            first = check(ledger, settings, model)  # nothing to compare with yet
            results = [check(ledger, settings, model) for _ in range(options.checks)]
            alarms += sum(not result.passed for result in (first, *results))
            checks += 1 + len(results)
            for _ in range(each):
                harmed = set(rng.sample(sorted(set(prompts) - differing), round(CHANGED * len(prompts))))
                caught += not check(ledger, settings, SimulatedModel(differing | harmed), keep=False).passed
    return Stream(caught, each * options.streams, alarms, checks)


@contextmanager
def watched(prompts: list[str]) -> Iterator[tuple[Ledger, Settings]]:
    """A fresh ledger, and settings with the suite and all else as shipped."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_ledger(f"sqlite:///{Path(folder) / 'ledger.db'}") as ledger,
    ):
        ledger.migrate()
        ledger.generations.start("base")
        path = Path(folder) / "far.jsonl"
        path.write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in prompts))
        yield ledger, Settings(monitoring=MonitoringSettings(suites={"far": path}))


def check(ledger: Ledger, settings: Settings, model: SimulatedModel, *, keep: bool = True) -> CheckResult:
    """The next check of the suite; with `keep` False it leaves no trace, so that the next one is the next as well."""
    ledger.checks.request("far", "benchmark")
    claimed = ledger.checks.claim("benchmark", lease_seconds=600)
    if claimed is None:
        raise SystemExit("the check that was asked for cannot be claimed")
    if keep:
        (result,), _ = work_on_check(ledger, settings, model, claimed, clock=utc_now)
        return result
    run = CheckRun(CheckContext(ledger, settings, model, claimed, clock=utc_now))
    while run.step():
        pass
    ledger.checks.fail(claimed.id, claimed.token, "a rehearsal")
    return run.results()[0]


if __name__ == "__main__":
    main()
