"""The worker: claims a batch by lease, trains it, verifies it, publishes the generation that results.

    claim -> train (editors) -> verify -> save the shard -> publish (one transaction)

Killed at any instant it leaves nothing half-done: the lease runs out and the batch is taken over; a shard without a
generation is swept; publishing happened or did not.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog

from daemon.ledger import Ledger, open_ledger, utc_now
from daemon.ledger.errors import HeadMoved, LeaseLost
from daemon.ledger.values import ClaimedBatch, Edit, Generation, Lane, RejectedEdit
from daemon.outage import Outage
from daemon.regression import apply_policy, run_checks
from daemon.runtime import ServedModel, open_model
from daemon.settings import Settings
from daemon.telemetry import role_metrics
from daemon.verify import Verdict, Verifier
from editors.errors import BadRequest, DeviceBusy, ShardCorrupt, TemporaryError
from editors.registry import Editor, build_editor
from editors.requests import EditRequest
from editors.shards import Shard
from editors.store import AdapterStore
from monitoring.metrics import Metrics
from monitoring.suites import load_suite

# An edit that its batch's editor failed on gets an expert of its own before it is rejected.
SECOND_EDITOR = "scen"
# How often a verified batch is verified again because another worker published meanwhile.
PUBLISH_ATTEMPTS = 20
RETRY_SECONDS = 5.0
STORE_RETRY_SECONDS = 10.0
SWEEP_SECONDS = 3_600.0
# A shard that no generation names after this time belongs to a batch that failed or whose worker died.
UNPUBLISHED_SECONDS = 86_400.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Trained:
    """A shard and the edits that it carries."""

    shard: Shard
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch came to before it is published."""

    shards: Mapping[int, str]  # edit -> digest of the shard that carries it
    rejected: Mapping[int, RejectedEdit]
    scores: Mapping[str, float | None]


class Worker:
    """One process, one device, one model; works on one batch or check at a time."""

    def __init__(self, settings: Settings, ledger: Ledger, model: ServedModel, metrics: Metrics) -> None:
        self._settings = settings
        self._ledger = ledger
        self._model = model
        self._metrics = metrics
        self._store = AdapterStore(settings.store.path)
        self._verifier = Verifier(settings.verify, max_new_tokens=settings.model.max_new_tokens)
        self._probes = _probes(settings)
        self._swept_at: float | None = None
        self.name = f"{socket.gethostname()}:{os.getpid()}"

    def work_once(self) -> bool:
        """Do the most urgent piece of work, if there is any: urgent batches, then checks, then the batch lane.

        Raises:
            TemporaryError: the ledger or the store is unwell; nothing was lost, come again.
        """
        self._follow_head()
        lease = self._settings.worker.lease_seconds
        batch = self._ledger.batches.claim(self.name, lease_seconds=lease, lanes=(Lane.URGENT,))
        if batch is None and self._check_once():
            return True
        batch = batch or self._ledger.batches.claim(self.name, lease_seconds=lease, lanes=(Lane.BATCH,))
        self._sweep_if_due()
        device = str(self._model.edited.base.device)
        self._ledger.control.workers_seen(self.name, device, batch.id if batch else None)
        if batch is None:
            return False
        with structlog.contextvars.bound_contextvars(batch_id=batch.id):
            self._work_on(batch)
        return True

    def _work_on(self, batch: ClaimedBatch) -> None:
        """One claimed batch, whatever happens: published, given back for later, split or quarantined."""
        editor = batch.editor or "none"
        if batch.attempts > self._settings.verify.max_attempts:
            self._give_up(batch, f"{batch.attempts - 1} workers died or failed on it")
            return
        try:
            with self._leased(batch):
                generation = self.apply_batch(batch)
        except LeaseLost as error:
            _log.warning("batch taken over by another worker", reason=str(error))
            self._metrics.batches.labels(editor, "lease_lost").inc()
        except DeviceBusy as error:
            # This may be the batch's fault: it is split when it has failed too often.
            _log.warning("batch put off", reason=str(error))
            self._put_off(batch, str(error), error.retry_after_seconds)
        except TemporaryError as error:
            _log.warning("batch put off", reason=str(error))
            self._put_off(batch, str(error), error.retry_after_seconds, blameless=True)
        except Exception as error:
            # Unknown errors are retried a bounded number of times, then quarantined.
            _log.exception("batch failed")
            self._put_off(batch, f"{type(error).__name__}: {error}", RETRY_SECONDS)
        else:
            self._metrics.batches.labels(editor, "published").inc()
            self._report(batch, generation)

    def apply_batch(self, batch: ClaimedBatch) -> Generation | None:
        """Edit, verify, publish: serving never sees an unverified generation.

        Raises:
            LeaseLost: another worker has the batch by now; nothing was published.
            TemporaryError: the device, the store or the ledger is unwell; the caller puts the batch off.
        """
        asserts = tuple(edit for edit in batch.edits if edit.op == "assert")
        refused = self._unusable(asserts)
        trained = self._train(batch.editor, tuple(e for e in asserts if e.id not in refused))
        for _ in range(PUBLISH_ATTEMPTS):
            self._follow_head()
            head = self._model.generation
            outcome = self._verify(trained, batch.editor)
            try:
                with self._timed(batch.editor, "publish"):
                    return self._ledger.generations.publish(
                        batch=batch,
                        expected_head=head,
                        live=outcome.shards,
                        rejected={**refused, **outcome.rejected},
                        scores=outcome.scores,
                        cause=f"batch {batch.id} ({batch.editor or 'retractions'}, {batch.lane})",
                    )
            except HeadMoved:
                _log.info("another generation was published meanwhile; verifying on top of it")
        raise TemporaryError(
            "other workers publish faster than this batch is verified", retry_after_seconds=5.0
        )

    def _unusable(self, edits: Sequence[Edit]) -> dict[int, RejectedEdit]:
        """Edits that this base cannot take in at all: too long for its context or for an answer."""
        refused: dict[int, RejectedEdit] = {}
        base, longest = self._model.edited.base, self._settings.model.max_new_tokens
        for edit in edits:
            request = edit.request()
            try:
                for prompt in (request.prompt, *request.rephrase_prompts, *request.locality_prompts):
                    base.prompt_ids(prompt)
                tokens = len(base.answer_ids(request.prompt, request.target_new)) - 1
            except BadRequest as error:
                refused[edit.id] = RejectedEdit(str(error))
                continue
            if tokens > longest:
                told = f"target_new has {tokens} tokens, model.max_new_tokens is {longest}"
                refused[edit.id] = RejectedEdit(told)
        return refused

    def _train(self, editor: str | None, edits: tuple[Edit, ...]) -> list[Trained]:
        if not edits or editor is None:
            return []
        with self._timed(editor, "train"):
            shard = self._editor(editor).apply(_requests(edits), base=self._model.edited.base)
        return [Trained(shard, edits)]

    def _verify(self, trained: Sequence[Trained], editor: str | None) -> Outcome:
        """Verify what was trained; what fails gets one try as experts of their own, then is rejected."""
        shards: dict[int, str] = {}
        rejected: dict[int, RejectedEdit] = {}
        scores: dict[str, float | None] = {}
        for part in trained:
            verdict = self._judge(part, editor)
            scores |= verdict.scores
            self._keep(part, verdict, shards)
            again = tuple(edit for edit in part.edits if edit.id in verdict.failed)
            if again and editor != SECOND_EDITOR:
                for second in self._train(SECOND_EDITOR, again):
                    verdict = self._judge(second, SECOND_EDITOR)
                    self._keep(second, verdict, shards)
            rejected |= verdict.failed
        return Outcome(shards, rejected, scores)

    def _judge(self, part: Trained, editor: str | None) -> Verdict:
        with self._timed(editor, "verify"):
            # Seeded by the head: a verification that is repeated asks the same.
            sample = self._ledger.generations.live_sample(
                self._settings.verify.retention_sample, seed=self._model.generation
            )
            return self._verifier.check(
                self._model.edited,
                part.shard,
                part.edits,
                replaced=[rival.edit_id for rival in self._ledger.plans.rivals(part.edits)],
                earlier=sample,
                probes=self._probes,
            )

    def _keep(self, part: Trained, verdict: Verdict, shards: dict[int, str]) -> None:
        if verdict.passed:
            kept = part.shard.keep([str(edit_id) for edit_id in verdict.passed])
            digest = self._store.save(kept)
            shards |= dict.fromkeys(verdict.passed, digest)

    def _editor(self, name: str) -> Editor:
        tables = {"scen": self._settings.editors.scen, "lemoe": self._settings.editors.lemoe}
        return build_editor(name, tables.get(name))

    def _check_once(self) -> bool:
        claimed = self._ledger.checks.claim(self.name, lease_seconds=self._settings.worker.lease_seconds)
        if claimed is None:
            return False
        lease = self._settings.worker.lease_seconds

        def beat() -> None:
            self._ledger.checks.heartbeat(claimed.id, claimed.token, lease_seconds=lease)

        with _heartbeat(beat, every_seconds=lease / 3):
            results = run_checks(
                self._ledger, self._settings, self._model, suite=claimed.suite, clock=utc_now
            )
        try:
            self._ledger.checks.finish(claimed.id, claimed.token, results)
        except LeaseLost as error:
            _log.warning("check taken over by another worker", reason=str(error))
            return True
        outcome = apply_policy(self._ledger, self._settings, results)
        _log.info("regression checked", generation=self._model.generation, outcome=outcome)
        return True

    def _sweep_if_due(self) -> None:
        """Now and then, remove shards of batches that were never published."""
        now = time.monotonic()
        if self._swept_at is not None and now - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = now
        named = self._ledger.generations.shards()
        if removed := self._store.sweep(keep=named, older_than_seconds=UNPUBLISHED_SECONDS):
            _log.info("unpublished shards removed", shards=removed)

    def _give_up(self, batch: ClaimedBatch, reason: str) -> None:
        """Keep the innocent: halve a batch that nobody survives; quarantine the edit that is left alone."""
        ids = [edit.id for edit in batch.edits]
        if len(ids) > 1:
            parts = [ids[: len(ids) // 2], ids[len(ids) // 2 :]]
            self._ledger.batches.split(batch.id, batch.token, parts, reason=reason)
            _log.warning("batch split in halves", reason=reason)
            return
        self._put_off(batch, reason, RETRY_SECONDS)

    def _follow_head(self) -> None:
        """Take over what was published; a store that has lost a published shard is no batch's fault."""
        try:
            self._model.refresh()
        except ShardCorrupt as error:
            raise TemporaryError(
                f"no batch can be worked on: {error}", retry_after_seconds=STORE_RETRY_SECONDS
            ) from error

    def _put_off(
        self, batch: ClaimedBatch, reason: str, delay_seconds: float, *, blameless: bool = False
    ) -> None:
        most = None if blameless else self._settings.verify.max_attempts
        try:
            if most is not None and batch.attempts >= most and len(batch.edits) > 1:
                self._give_up(batch, reason)
                return
            self._ledger.batches.retry_later(
                batch.id, batch.token, reason=reason, delay_seconds=delay_seconds, max_attempts=most
            )
        except LeaseLost as error:
            _log.warning("batch taken over by another worker", reason=str(error))
        self._metrics.batches.labels(batch.editor or "none", "put_off").inc()

    def _report(self, batch: ClaimedBatch, generation: Generation | None) -> None:
        if generation is None:
            _log.info("batch done, nothing to publish", edits=len(batch.edits))
            return
        now = utc_now()
        for edit in batch.edits:
            if edit.edit_id in generation.enabled:
                self._metrics.edit_latency.observe(_seconds_since(edit.occurred_at, now))
        _log.info(
            "generation published",
            generation=generation.number,
            live=len(generation.enabled),
            disabled=len(generation.disabled),
            **{name: round(score, 4) for name, score in generation.scores.items() if score is not None},
        )

    @contextmanager
    def _leased(self, batch: ClaimedBatch) -> Iterator[None]:
        lease = self._settings.worker.lease_seconds

        def beat() -> None:
            self._ledger.batches.heartbeat(batch.id, batch.token, lease_seconds=lease)

        with _heartbeat(beat, every_seconds=lease / 3):
            yield

    @contextmanager
    def _timed(self, editor: str | None, stage: str) -> Iterator[None]:
        with self._metrics.batch_duration.labels(editor or "none", stage).time():
            yield


def run(settings: Settings, stop: threading.Event) -> None:
    """Work until `stop` is set; a batch in hand is finished first.

    Raises:
        PermanentError: the base, the ledger or a setting cannot be used at all.
    """
    with open_ledger(settings.ledger.url) as ledger:
        worker = _open_worker(settings, ledger)
        _log.info("worker ready", worker=worker.name)
        outage = Outage("the ledger or the adapter store", "no batch is begun, nothing is lost; trying again")
        while not stop.is_set():
            try:
                worked = worker.work_once()
            except TemporaryError as error:
                stop.wait(max(outage.failed(error), error.retry_after_seconds))
            else:
                outage.ended()
                if not worked:
                    stop.wait(settings.worker.poll_seconds)


def work_until_idle(settings: Settings) -> None:
    """Do all the work that there is now, in this process; for `upkeep apply`."""
    with open_ledger(settings.ledger.url) as ledger:
        worker = _open_worker(settings, ledger)
        while worker.work_once():
            pass


def _open_worker(settings: Settings, ledger: Ledger) -> Worker:
    for name, table in (("scen", settings.editors.scen), ("lemoe", settings.editors.lemoe)):
        build_editor(name, table)  # a wrong setting is told now, not at two in the morning
    ledger.migrate()
    return Worker(settings, ledger, open_model(settings, ledger), role_metrics(settings))


def _probes(settings: Settings) -> list[str]:
    """A sample of each configured suite; read at the start, so that a wrong file is told then."""
    suites = (load_suite(name, path) for name, path in settings.monitoring.suites.items())
    return [
        probe.prompt
        for suite in suites
        for probe in suite.sample(settings.verify.retention_sample, seed=0).probes
    ]


def _requests(edits: Sequence[Edit]) -> list[EditRequest]:
    return [edit.request() for edit in edits]


def _seconds_since(then: datetime, now: datetime) -> float:
    return max(0.0, (now - then).total_seconds())


@contextmanager
def _heartbeat(beat: Callable[[], None], *, every_seconds: float) -> Iterator[None]:
    """Keep a lease alive from a thread while the block runs.

    A lease that is lost meanwhile stops the beat only: publishing will refuse the stale token by itself.
    """
    done = threading.Event()

    def loop() -> None:
        while not done.wait(every_seconds):
            try:
                beat()
            except LeaseLost as error:
                _log.warning("lease lost", reason=str(error))
                return
            except TemporaryError as error:
                _log.warning("heartbeat failed, trying again", reason=str(error))

    thread = threading.Thread(target=loop, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
