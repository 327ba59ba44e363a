"""Replays dated changes of facts through the whole daemon, in order and shuffled, and asks at every generation.

    python benchmarks/replay.py --model DIR --timeline $DATA/dyknow.jsonl [--encoder DIR] [--facts N --waves 20]

Every change of the timeline is one fact event (prompts: `generic`, `contextualized`; `occurred_at` = since). It goes
through an embedded Kafka-compatible broker, consumer, ledger (SQLite), plan of the nightly lane, worker and
publication: once in order, in `--waves` parts by date, and once shuffled, a share of the events twice; each run has a
ledger, a store and a topic of its own. At every generation of the run in order, and at the end of the other, all
facts are asked in the held-out phrasings `rephrased_1` and `rephrased_2` by free greedy generation of plain prompts.
Prints one JSON object:

- `events`, `facts`; `generations`: how many the run in order published.
- `final_right`: share of (fact, held-out phrasing) answered with the newest value at the end of the run in order.
- `final_stale`: share that names an older value of the fact, and not the newest.
- `right_over_time`: share over all generations of (fact that has an event by then, phrasing) answered with the newest
  value that was told: within a wave whatever is live or was settled before it, at its last generation everything that
  was sent.
- `shuffled_equals_ordered`: both runs end with the same live edits (fact -> value) and answer every fact and phrasing
  alike.
- `named`: share whose answer has the newest value among its words; `routing`: which edit answered the final
  questions; `fired_before_first_event`: share of questions about facts not yet told that an edit answered.
- `in_context`: no edit, the newest fact always written in front of the question; `base`: no edit, nothing written.
- `ordered`, `shuffled`: what became of all records and edits of each run; `superseded_untrained`: edits that lost to
  a newer one before any training. `misses`, `different`: up to 20 wrong final answers, and answers in which the runs
  differ.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replay_scores import (
    AskedGeneration,
    OverTime,
    Question,
    final_scores,
    is_same,
    questions,
    share,
)
from replay_stage import ReplayStage, say, staged
from replay_timeline import DatedFact, ValueChange, in_order, read_timeline, shuffled, waves

from daemon.ingest.embedded_broker import EmbeddedBroker
from daemon.process.log import configure_logging
from daemon.settings.tables import LogSettings
from demo.play.stage import forget_settings_of_the_environment
from editors.inference.edited_model import Answer

LISTED = 20  # misses in the report


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended."""

    answers: Mapping[Question, Answer]
    live: Mapping[int, ValueChange]
    own: Mapping[int, str]  # fact -> id of its live edit
    account: Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--timeline", type=Path, required=True)
    parser.add_argument("--encoder", help="folder or hub id for index.encoder; unset: the settings' default")
    parser.add_argument("--facts", type=int, help="only the first so many")
    parser.add_argument("--waves", type=int, default=20)
    parser.add_argument("--duplicates", type=float, default=0.25, help="share of the events sent twice")
    parser.add_argument("--editor", choices=("auto", "scen", "lemoe"), default="scen")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dir", type=Path, help="keep ledgers and stores there; unset: a temporary folder")
    options = parser.parse_args()
    configure_logging(LogSettings(level="error"), "benchmark")
    forget_settings_of_the_environment()
    _check(options)
    facts = read_timeline(options.timeline, options.facts)
    with ExitStack() as stack:
        folder = options.dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = stack.enter_context(EmbeddedBroker()).bootstrap_servers
        print(
            json.dumps(TimelineReplay(facts, options, folder.resolve(), servers).report(), ensure_ascii=False)
        )


def _check(options: argparse.Namespace) -> None:
    if options.waves < 1 or not 0 <= options.duplicates <= 1 or (options.facts or 1) < 1:
        raise SystemExit("--waves and --facts are at least 1, --duplicates lies between 0 and 1")
    if options.dir is not None and options.dir.exists() and any(options.dir.iterdir()):
        raise SystemExit(f"{options.dir} is not empty: a replay starts afresh, name another --dir")


class TimelineReplay:
    """Both runs over one timeline."""

    def __init__(
        self, facts: Sequence[DatedFact], options: argparse.Namespace, folder: Path, servers: str
    ) -> None:
        self._facts = facts
        self._options = options
        self._folder = folder
        self._servers = servers
        self._questions = questions(facts)
        self._changes = {change.event_id: change for fact in facts for change in fact.changes}
        self._tokens = _longest_answer(options.model, facts)

    def report(self) -> dict[str, Any]:
        """Both runs; the keys that the module's docstring explains."""
        begun = time.perf_counter()
        over_time = OverTime(self._facts)
        with self._staged("ordered") as stage:
            ordered = self._play(stage, in_order(self._facts), over_time)
            baselines = self._baselines(stage)
        mixed = shuffled(self._facts, duplicates=self._options.duplicates, seed=self._options.seed)
        with self._staged("shuffled") as stage:
            other = self._play(stage, mixed, None)
        return {
            **self._headline(ordered, other, over_time),
            **baselines,
            **self._detail(ordered, other),
            "max_new_tokens": self._tokens,
            "seconds": round(time.perf_counter() - begun, 1),
            **{name: str(value) for name, value in vars(self._options).items() if value is not None},
        }

    def _headline(self, ordered: Run, other: Run, over_time: OverTime) -> dict[str, Any]:
        scores = final_scores(self._facts, _texts(ordered.answers))
        return {
            "events": len(self._changes),
            "facts": len(self._facts),
            "final_right": scores["right"],
            "final_stale": scores["stale"],
            "right_over_time": share(over_time.right),
            "generations": ordered.account["generations"],
            "shuffled_equals_ordered": not self._different(ordered, other) and ordered.live == other.live,
            "questions": len(self._questions),
            "named": scores["named"],
            "stale_over_time": share(over_time.stale),
            "fired_before_first_event": share(over_time.fired_early),
            "routing": self._routing(ordered),
        }

    def _detail(self, ordered: Run, other: Run) -> dict[str, Any]:
        different = self._different(ordered, other)
        return {
            "shuffled_final": final_scores(self._facts, _texts(other.answers)),
            "shuffled_routing": self._routing(other),
            "live_is_newest": {
                "ordered": self._is_newest(ordered.live),
                "shuffled": self._is_newest(other.live),
            },
            "answered_differently": len(different),
            "ordered": ordered.account,
            "shuffled": other.account,
            "misses": self._misses(ordered),
            "different": [
                {"prompt": q[1], "ordered": ordered.answers[q].text, "shuffled": other.answers[q].text}
                for q in different[:LISTED]
            ],
        }

    def _different(self, ordered: Run, other: Run) -> list[Question]:
        reported = ((q, ordered.answers[q].text, other.answers[q].text) for q in self._questions)
        return [question for question, one, two in reported if not is_same(one, two)]

    def _staged(self, name: str) -> Any:
        chosen = self._options
        sections: dict[str, dict[str, Any]] = {
            "model": {
                "path": str(Path(chosen.model).resolve()) if Path(chosen.model).exists() else chosen.model,
                "device": chosen.device,
                "max_new_tokens": self._tokens,
            },
            "planner": {"batch_editor": chosen.editor, "seed": chosen.seed},
        }
        if chosen.encoder is not None:
            sections["index"] = {"encoder": chosen.encoder}
        return staged(name, self._folder / name, self._servers, sections)

    def _play(self, stage: ReplayStage, changes: Sequence[ValueChange], over_time: OverTime | None) -> Run:
        """Send the changes wave by wave; with `over_time`, ask at every generation, else at the end alone."""
        begun, asked = time.perf_counter(), list[AskedGeneration]()
        parts = waves(changes, self._options.waves)
        for number, wave in enumerate(parts, start=1):
            generations = stage.apply([self._facts[change.fact].record(change) for change in wave])
            of_wave = [self._answer_to(stage) for _ in generations if over_time is not None]
            if over_time is not None:
                over_time.count(wave, of_wave)
            asked = of_wave[-1:] or asked
            taken = f"{time.perf_counter() - begun:.0f} s"
            say(f"{stage.name}: wave {number} of {len(parts)}, generation {stage.model.generation}, {taken}")
        end = asked[-1] if asked else self._answer_to(stage)
        own = {self._changes[e.event_id].fact: e.id for e in stage.ledger.generations.live_edits()}
        spent = {"seconds": round(time.perf_counter() - begun, 1)}
        return Run(end.answers, end.live, own, {**stage.account(), **spent})

    def _answer_to(self, stage: ReplayStage) -> AskedGeneration:
        answers = stage.model.generate([p for _, p in self._questions], max_new_tokens=self._tokens)
        live = [self._changes[edit.event_id] for edit in stage.ledger.generations.live_edits()]
        return AskedGeneration(
            stage.model.generation,
            dict(zip(self._questions, answers, strict=True)),
            {change.fact: change for change in live},
        )

    def _baselines(self, stage: ReplayStage) -> dict[str, Any]:
        """The frozen base, with the newest fact written in front of the question and without."""
        reported = [self._facts[number] for number, _ in self._questions]
        plain = [prompt for _, prompt in self._questions]
        written = [
            f"{fact.prompt} {fact.newest.value}.\n{p}" for fact, p in zip(reported, plain, strict=True)
        ]
        found = {}
        for name, prompts in (("in_context", written), ("base", plain)):
            answers = stage.model.generate_base(prompts, max_new_tokens=self._tokens)
            texts = {q: answer.text for q, answer in zip(self._questions, answers, strict=True)}
            found[name] = final_scores(self._facts, texts)
        return found

    def _routing(self, run: Run) -> dict[str, float]:
        """Shares of the final questions: answered by the fact's own live edit, by another edit, by the base."""

        def answered_by(question: Question) -> str:
            edit_id = run.answers[question].edit_id
            return "base" if edit_id is None else "own" if edit_id == run.own.get(question[0]) else "other"

        counts = Counter(map(answered_by, self._questions))
        return {name: round(counts[name] / len(self._questions), 4) for name in ("own", "other", "base")}

    def _is_newest(self, live: Mapping[int, ValueChange]) -> bool:
        return dict(live) == {number: fact.newest for number, fact in enumerate(self._facts)}

    def _misses(self, run: Run) -> list[dict[str, Any]]:
        wrong = [
            {
                "subject": fact.subject,
                "prompt": prompt,
                "wanted": fact.newest.value,
                "answer": answer.text,
                "edit_id": answer.edit_id,
                "own_edit_id": run.own.get(number),
                "score": round(answer.score, 4),
            }
            for (number, prompt), answer in run.answers.items()
            if not is_same(answer.text, (fact := self._facts[number]).newest.value)
        ]
        return wrong[:LISTED]


def _texts(answers: Mapping[Question, Answer]) -> dict[Question, str]:
    return {question: answer.text for question, answer in answers.items()}


def _longest_answer(model: str, facts: Sequence[DatedFact]) -> int:
    """Room for the longest value and the token that ends it."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    values = [f" {change.value}" for fact in facts for change in fact.changes]
    return max(len(ids) for ids in tokenizer(values, add_special_tokens=False)["input_ids"]) + 2


if __name__ == "__main__":
    main()
