"""Plays the demo: publishes the stream in two waves, follows it through the daemon, scores what came of it."""

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from daemon.ledger import utc_now
from daemon.ledger.values import CheckResult, Lane
from daemon.operations.plan_causes import by_command
from daemon.planning.cycle import plan_cycle
from demo.play.accounts import account
from demo.play.report import Summary, facts_to_see, print_facts, print_summary, regression_problems
from demo.play.scoring import Answers, ask, score
from demo.play.served import served_answers, served_generation, served_metrics
from demo.play.show import Show
from demo.play.stage import DemoFailed, Stage, staged
from demo.play.watch import Figures, Watch
from demo.stream.endless import endless_stream
from demo.stream.records import StreamRecord
from demo.stream.stream import DemoStream, ExpectedAnswer, demo_stream
from demo.stream.topics import Publisher
from demo.world.general import far_probes
from demo.world.world import World
from edits.text import counted

WORLD_SEED = 0  # the world that the shipped base was trained on
GUARD_SECONDS = 300.0
METRICS = "metrics.txt"
POLL_SECONDS = 0.2
SUITE_PROBES = 200
STREAM_PLAN_SECONDS = 10.0
COMMAND = "upkeep demo"


@dataclass(frozen=True, slots=True)
class Options:
    """What the reader asked for."""

    folder: Path
    seed: int
    events: int
    json_path: Path | None
    keep: bool


def run_demo(options: Options, console: Console) -> Summary:
    """The whole demo; with `keep` it returns when it is interrupted.

    Raises:
        DemoFailed: something is broken or does not come to an end.
        KeyboardInterrupt: before there was a summary; everything is stopped.
    """
    show = Show(console)
    world = World.generate(WORLD_SEED)
    try:
        stream = demo_stream(world, options.seed, options.events, now=utc_now().replace(microsecond=0))
    except ValueError as error:
        raise DemoFailed(str(error)) from error
    with staged(options.folder, far_prompts=_suite(stream, options.seed)) as stage:
        with show:
            summary, answers = _played(stage, show, stream, options.seed, facts_to_see(stream, world))
        print_facts(console, facts_to_see(stream, world), answers)
        print_summary(console, summary)
        if options.json_path is not None:
            options.json_path.write_text(summary.as_json(), encoding="utf-8")
        _print_places(console, stage, running=options.keep)
        if options.keep:
            with contextlib.suppress(KeyboardInterrupt):
                _keep(stage)
    return summary


def run_stream(options: Options, console: Console, *, rate: float) -> None:
    """The endless stream at `rate` records a second, until KeyboardInterrupt."""
    world = World.generate(WORLD_SEED)
    records = endless_stream(world, options.seed, start=utc_now(), seconds_between=1 / rate)
    with staged(options.folder, far_prompts=far_probes(SUITE_PROBES, options.seed)) as stage:
        _print_places(console, stage, running=True)
        with Show(console) as show, Publisher(stage.settings.kafka) as publisher:
            watch, published, planned = Watch(stage.ledger, show), 0, 0.0
            show.say(
                "stream",
                f"{rate:g} records a second; the nightly lane is planned every "
                f"{STREAM_PLAN_SECONDS:g} s instead of at night; Ctrl-C ends it",
            )
            while True:
                stage.daemon.require_running()
                due = int(show.seconds * rate) - published
                publisher.publish([next(records) for _ in range(due)])
                published += due
                if show.seconds - planned >= STREAM_PLAN_SECONDS:
                    planned = show.seconds
                    plan_cycle(stage.ledger, stage.settings, lanes=tuple(Lane), cause=by_command(COMMAND))
                    figures = watch.look(published)
                    show.say(
                        "stream",
                        f"{published} published, {figures.taken} taken in, {counted(figures.open, 'edit')} open",
                    )
                watch.look(published)
                time.sleep(POLL_SECONDS)


def _played(
    stage: Stage, show: Show, stream: DemoStream, seed: int, to_see: Sequence[ExpectedAnswer]
) -> tuple[Summary, Answers]:
    play = _Play(stage, show)
    show.say("demo", f"broker at {stage.settings.kafka.bootstrap_servers}, daemon in {stage.folder}")
    show.more(f"as soon as it answers, the console is at {stage.url}/console")
    middle = len(stream.records) // 2
    with Publisher(stage.settings.kafka) as publisher:
        # Two waves, so that later, late and retracting news meets facts that are live already.
        for number, wave in enumerate((stream.records[:middle], stream.records[middle:]), start=1):
            publisher.publish(wave)
            show.say(
                "demo",
                f"wave {number}: {counted(len(wave), 'record')} published to {stage.settings.kafka.topic}",
            )
            play.apply(wave)
    asked_at = utc_now()
    stage.ledger.checks.request(None, "upkeep demo")
    show.say("demo", "a locality regression is asked for; meanwhile the final model is scored here")
    from daemon.served_model import open_model  # loads torch: while the worker is busy

    model = open_model(stage.settings, stage.ledger)
    answers = ask(model, stream, max_new_tokens=stage.settings.model.max_new_tokens)
    results = play.regression(model.generation, lambda result: result.at >= asked_at)
    problems = play.served_problems(model.generation, [fact.prompt for fact in to_see], answers)
    play.until(lambda _: "outcomes of edits in Kafka" if stage.ledger.outbox.unsent(1) else None)
    accounts, scores = account(stream, stage.ledger, stage.settings.kafka), score(answers, stream)
    (stage.folder / METRICS).write_text(served_metrics(stage.url), encoding="utf-8")
    summary = Summary(
        accounts=accounts,
        scores=scores,
        regression={result.suite: _ratio(result) for result in results},
        generation=model.generation,
        seconds=show.seconds,
        seed=seed,
        places={
            "folder": str(stage.folder),
            "ledger": stage.settings.ledger.shown_url,
            "adapter_store": str(stage.settings.store.path),
            "metrics": f"{stage.url}/metrics",
        },
        problems=(*accounts.problems, *scores.failures(), *regression_problems(results), *problems),
    )
    return summary, answers


class _Play:
    """Waits for the daemon, shows what it does, and gives up in words when it does not come to an end."""

    def __init__(self, stage: Stage, show: Show) -> None:
        self._stage = stage
        self._show = show
        self._watch = Watch(stage.ledger, show)
        self._published = 0
        self._before: Figures | None = None

    def until(self, missing: Callable[[Figures], str | None]) -> Figures:
        """Wait until nothing is `missing`; otherwise it says what.

        Raises:
            DemoFailed: the daemon ended, or the guard's time is over.
        """
        while True:
            self._stage.daemon.require_running()
            figures = self._watch.look(self._published)
            what = missing(figures)
            if what is None:
                return figures
            if self._show.seconds > GUARD_SECONDS:
                words = self._stage.daemon.last_words()
                raise DemoFailed(f"after {GUARD_SECONDS:g} s the demo still waits for {what}\n{words}")
            time.sleep(POLL_SECONDS)

    def apply(self, wave: Sequence[StreamRecord]) -> None:
        """See a published wave into the ledger, have it planned, and wait until every edit is settled."""
        self._published += len(wave)
        total = self._published
        figures = self.until(
            lambda f: None if f.taken >= total else f"{total - f.taken} of {total} records in the ledger"
        )
        self._watch.tell_taken(figures, self._before)
        self._before = figures
        self._show.say("demo", "the nightly lane is planned now, as `upkeep plan` would, not at two at night")
        plan_cycle(self._stage.ledger, self._stage.settings, lanes=tuple(Lane), cause=by_command(COMMAND))
        self.until(lambda f: f"{counted(f.open, 'edit')} to be settled" if f.open else None)

    def regression(self, generation: int, is_ours: Callable[[CheckResult], bool]) -> list[CheckResult]:
        """The results of the locality regression, when a worker has run it."""
        found: list[CheckResult] = []

        def missing(_: Figures) -> str | None:
            latest = self._stage.ledger.checks.latest()
            found[:] = [r for r in latest if r.generation == generation and is_ours(r)]
            return None if found else "the locality regression"

        self.until(missing)
        self._watch.tell_checks(found)
        return found

    def served_problems(self, generation: int, prompts: Sequence[str], answers: Answers) -> list[str]:
        """Where the answers over HTTP are not those that were scored."""
        url = self._stage.url
        self.until(
            lambda _: (
                None if served_generation(url) == generation else f"{url} to serve generation {generation}"
            )
        )
        served = served_answers(url, prompts)
        self._show.say("serve", f"{url} answers with generation {generation}")
        return [
            f"over HTTP {prompt!r} is answered {answer!r}, not {answers.edited[prompt]!r}"
            for prompt, answer in zip(prompts, served, strict=True)
            if answer != answers.edited[prompt]
        ]


def _suite(stream: DemoStream, seed: int) -> list[str]:
    """Probes for the daemon's own regression; those that score the demo stay unknown to it."""
    scored = set(stream.far_prompts)
    return [prompt for prompt in far_probes(2 * SUITE_PROBES, seed + 1) if prompt not in scored][
        :SUITE_PROBES
    ]


def _ratio(result: CheckResult) -> float | None:
    return result.scores.get("locality", result.scores.get("retention"))


def _keep(stage: Stage) -> None:
    while True:
        stage.daemon.require_running()
        time.sleep(POLL_SECONDS)


def _print_places(console: Console, stage: Stage, *, running: bool) -> None:
    """Where everything lies, and how to look further."""
    settings = stage.settings
    places = [
        ("ledger", settings.ledger.shown_url),
        ("adapter store", _near(settings.store.path)),
        ("daemon's log", _near(stage.daemon.log)),
        (
            "metrics",
            f"{stage.url}/metrics" if running else f"{_near(stage.folder / METRICS)} (as at the end)",
        ),
    ]
    if running:
        places[:0] = [
            ("console", f"{stage.url}/console"),
            ("answers", f"{stage.url}/v1/generate"),
            ("Kafka", settings.kafka.bootstrap_servers),
        ]
    for name, place in places:
        console.print(f"{name:<14}{place}", markup=False, soft_wrap=True)
    called = _near(Path(sys.argv[0]).absolute()) if Path(sys.argv[0]).name == "upkeep" else "upkeep"
    console.print("look further:")
    for command in ("facts", "status", 'ask "The capital of France is"'):
        console.print(f"  {called} {command} --config {_near(stage.config)}", markup=False, soft_wrap=True)
    console.print(
        "Ctrl-C stops it" if running else "--keep leaves it running", style="bold" if running else "dim"
    )


def _near(path: Path) -> Path:
    """The path as it is called from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
