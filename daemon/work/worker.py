"""The worker: claims a batch by lease, trains it, verifies it, publishes the generation that results.

    claim -> train (editors) -> verify -> save the shard -> publish (one transaction)

Killed at any instant it leaves nothing half-done: the lease runs out and the batch is taken over; a shard without a
generation is swept; publishing happened or did not.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import structlog

from daemon.checks.check_suites import fixed_probes, known_suites
from daemon.ledger import Ledger, open_ledger, utc_now
from daemon.ledger.errors import HeadMoved, LeaseLost, RollbackUnfinished
from daemon.ledger.values import CheckKind, ClaimedBatch, Generation, Lane
from daemon.planning.servable import log_engine, servable_editor
from daemon.process.outage import Outage
from daemon.process.telemetry import role_metrics
from daemon.served_model import ServedModel, open_model, open_store
from daemon.settings.settings import Settings
from daemon.work.check_slice import work_on_next_check
from daemon.work.decision import (
    AttemptsExhausted,
    Decision,
    Drop,
    HoldBatches,
    Quarantine,
    Retry,
    Split,
    decide,
    ends_worker,
)
from daemon.work.lease import keep_alive
from daemon.work.lora_forms import LoraFormMaker
from daemon.work.trial import TrainedBatch, Trial, VerifiedBatch
from editors.base.passes import prove_replayable
from editors.methods.registry import build_editor
from editors.store.adapter_store import YOUNG
from edits.errors import ShardCorrupt, TemporaryError, UpkeepError
from monitoring.metrics.process_metrics import Metrics

# How often a verified batch is verified again because another worker published meanwhile.
PUBLISH_ATTEMPTS = 20
MAX_LOGGED_EVENTS = 50  # in one log line
STORE_RETRY_SECONDS = 10.0
SWEEP_SECONDS = 3_600.0
FINISH_SECONDS = 5.0  # of a rollback's writing down, between two signs of life
# A shard that no generation names after this time belongs to a batch that failed or whose worker died.
UNPUBLISHED_SECONDS = 86_400.0

_log = structlog.get_logger(__name__)


class Worker:
    """One process, one device, one model; works on one batch or check at a time."""

    def __init__(self, settings: Settings, ledger: Ledger, model: ServedModel, metrics: Metrics) -> None:
        self._settings = settings
        self._ledger = ledger
        self._model = model
        self._metrics = metrics
        self._store = open_store(settings)
        self._trial = Trial(settings, ledger, model, metrics)
        self._lora_forms = LoraFormMaker(settings, ledger, model, self._store)
        self._swept_at: float | None = None
        self.name = f"{socket.gethostname()}:{os.getpid()}"

    def work_once(self) -> bool:
        """Do the most urgent piece of work, if there is any: urgent batches, then checks, then the batch lane.

        Before all of it a rollback of many edits is written down, as long as there is one to finish. Of a check a slice is
        done at a time, so that an urgent batch waits for one slice at most. A full check, which may take hours, comes
        after the batch lane.

        Raises:
            TemporaryError: the ledger or the store is unwell; nothing was lost, come again.
        """
        self._follow_head()
        self._sweep_if_due()
        self._sign_of_life(None)
        if self._ledger.reversals.finish(seconds=FINISH_SECONDS):
            return True
        lease = self._settings.worker.lease_seconds
        batch = self._ledger.batches.claim(self.name, lease_seconds=lease, lanes=(Lane.URGENT,))
        if batch is None and self._check(CheckKind.BLAME, CheckKind.SAMPLE, CheckKind.PARITY):
            return True
        batch = batch or self._ledger.batches.claim(self.name, lease_seconds=lease, lanes=(Lane.BATCH,))
        if batch is None:
            return self._check(CheckKind.FULL) or self._lora_forms.make_next()
        # Planned before the engine was changed, perhaps: what is trained must be what can be served.
        batch = replace(batch, editor=servable_editor(batch.editor, self._settings.serve.engine))
        with structlog.contextvars.bound_contextvars(batch_id=batch.id):
            self._work_on(batch)
        return True

    def take_leave(self) -> None:
        """Nobody has to look for this worker: it ends. A ledger that is away learns it from the silence."""
        try:
            self._ledger.control.worker_ended(self.name)
        except TemporaryError as error:
            _log.warning("the ledger is not told that this worker ends", reason=str(error))

    def _work_on(self, batch: ClaimedBatch) -> None:
        """One claimed batch, whatever happens: published, or what `decide` says."""
        try:
            generation = self._process(batch)
        except Exception as error:
            self._count(batch, self._recover(batch, error))
            if ends_worker(error, device=self._model.edited.base.device.type):
                raise
        else:
            self._count(batch, "published")
            self._report(batch, generation)

    def _process(self, batch: ClaimedBatch) -> Generation | None:
        if batch.attempts > self._settings.verify.max_attempts:
            raise AttemptsExhausted(f"{batch.attempts - 1} workers died or failed on it")
        with self._leased(batch):
            return self.apply_batch(batch)

    def _recover(self, batch: ClaimedBatch, error: Exception) -> str:
        """Decide about a batch that failed, and carry that out; how it ended, in the metric's words."""
        if not isinstance(error, UpkeepError):
            _log.exception("batch failed")
        decision = decide(error, batch, max_attempts=self._settings.verify.max_attempts)
        try:
            return self._carry_out(decision, batch)
        except LeaseLost as lost:
            return self._carry_out(Drop(str(lost)), batch)

    def _carry_out(self, decision: Decision, batch: ClaimedBatch) -> str:
        match decision:
            case Drop(reason):
                _log.warning("batch taken over by another worker", reason=reason)
                return "lease_lost"
            case Split(reason, parts):
                self._ledger.batches.split(batch.id, batch.token, parts, reason=reason)
                _log.warning("batch split in halves", reason=reason)
                return "split"
            case Quarantine(reason):
                self._retry_later(batch, reason)
                _log.warning("batch quarantined", reason=reason)
                return "quarantined"
            case HoldBatches(reason):
                self._ledger.control.hold(reason, actor="worker")
                _log.error("batches are held", reason=reason)
                return self._carry_out(Retry(reason, counts=False), batch)
            case Retry(reason, delay_seconds, counts):
                self._retry_later(batch, reason, delay_seconds, counts=counts)
                _log.warning("batch put off", reason=reason)
                return "put_off"

    def _retry_later(
        self, batch: ClaimedBatch, reason: str, delay_seconds: float = 0, *, counts: bool = True
    ) -> None:
        """Release the batch; the ledger quarantines it when its attempts are used up."""
        most = self._settings.verify.max_attempts if counts else None
        self._ledger.batches.retry_later(
            batch.id, batch.token, reason=reason, delay_seconds=delay_seconds, max_attempts=most
        )

    def apply_batch(self, batch: ClaimedBatch) -> Generation | None:
        """Edit, verify, publish: serving never sees an unverified generation.

        Raises:
            LeaseLost: another worker has the batch by now; nothing was published.
            TemporaryError: the device, the store or the ledger is unwell; the caller puts the batch off.
            PermanentError: the base or what is live cannot be worked with at all.
        """
        asserts = [edit for edit in batch.edits if edit.op == "assert"]
        editor = batch.editor or "none"
        self._catch_up()
        trained = self._trial.train(editor, asserts) if asserts else TrainedBatch()
        for _ in range(PUBLISH_ATTEMPTS):
            self._catch_up()
            verified = self._trial.verify(trained, editor)
            carriers = {
                edit.id: self._store.save(part.shard) for part in verified.parts for edit in part.edits
            }
            try:
                with self._metrics.batch_duration.labels(editor, "publish").time():
                    generation = self._ledger.generations.publish(
                        batch=batch,
                        expected_head=self._model.generation,
                        live=carriers,
                        rejected=verified.rejected,
                        scores=verified.scores,
                        same=verified.duplicates,
                        cause=f"batch {batch.id} ({batch.editor or 'retractions'}, {batch.lane})",
                    )
            except (HeadMoved, RollbackUnfinished):
                _log.info("another generation was published meanwhile; verifying on top of it")
                continue
            self._metrics.verdict(editor, passed=len(carriers), rejected=len(verified.rejected))
            _log_rejected(batch, verified)
            return generation
        raise TemporaryError(
            "other workers publish faster than this batch is verified", retry_after_seconds=5.0
        )

    def _check(self, *kinds: CheckKind) -> bool:
        return work_on_next_check(
            self._ledger,
            self._settings,
            self._model,
            worker=self.name,
            kinds=kinds,
            follow_head=self._catch_up,
        )

    def _sweep_if_due(self) -> None:
        """Now and then, remove shards of batches that were never published."""
        now = time.monotonic()
        if self._swept_at is not None and now - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = now
        named = self._ledger.generations.shards()
        swept = self._store.sweep(keep=named, older_than_seconds=UNPUBLISHED_SECONDS)
        self._metrics.swept(young=swept.left[YOUNG], failed=sum(swept.failed.values()))
        if swept.failed:
            _log.warning("unpublished shards cannot be removed", removed=swept.removed, left=swept.failed)
        elif swept.removed:
            _log.info("unpublished shards removed", shards=swept.removed, left=dict(swept.left))

    def _follow_head(self) -> None:
        """Take over what was published; a store that holds another model's shards is no batch's fault."""
        try:
            self._model.refresh()
            self._metrics.unserved_edits.set(len(self._model.unserved))
        except ShardCorrupt as error:
            raise TemporaryError(
                f"no batch can be worked on: {error}", retry_after_seconds=STORE_RETRY_SECONDS
            ) from error

    def _catch_up(self) -> None:
        """Take over the head, and see to it that the states of edits are the head's: checks and batches go by them."""
        self._follow_head()
        self._ledger.reversals.finish()

    def _count(self, batch: ClaimedBatch, outcome: str) -> None:
        self._metrics.batches.labels(batch.editor or "none", outcome).inc()

    def _report(self, batch: ClaimedBatch, generation: Generation | None) -> None:
        if generation is None:
            _log.info("batch done, nothing to publish", edits=len(batch.edits))
            return
        now = utc_now()
        live = [edit for edit in batch.edits if edit.id in generation.enabled]
        accepted_at = self._ledger.audit.accepted_at([edit.id for edit in live])
        waited = self._metrics.edit_ingest_to_live.labels(batch.lane.value)
        for edit in live:
            self._metrics.edit_latency.observe(_seconds_since(edit.occurred_at, now))
            waited.observe(_seconds_since(accepted_at[edit.id], now))
        _log.info(
            "generation published",
            generation=generation.number,
            live=len(live),
            disabled=len(generation.disabled),
            event_ids=[edit.event_id for edit in live[:MAX_LOGGED_EVENTS]],
            **{name: round(score, 4) for name, score in generation.scores.items() if score is not None},
        )

    @contextmanager
    def _leased(self, batch: ClaimedBatch) -> Iterator[None]:
        lease = self._settings.worker.lease_seconds

        def beat() -> None:
            self._ledger.batches.heartbeat(batch.id, batch.token, lease_seconds=lease)
            self._sign_of_life(batch.id)

        self._sign_of_life(batch.id)
        with keep_alive(beat, every_seconds=lease / 3):
            yield

    def _sign_of_life(self, batch_id: int | None) -> None:
        self._ledger.control.workers_seen(self.name, str(self._model.edited.base.device), batch_id)


def _log_rejected(batch: ClaimedBatch, verified: VerifiedBatch) -> None:
    events = {edit.id: edit.event_id for edit in batch.edits}
    for edit_id, rejected in list(verified.rejected.items())[:MAX_LOGGED_EVENTS]:
        _log.warning("edit rejected", edit_id=edit_id, event_id=events[edit_id], reason=rejected.reason)


def run(settings: Settings, stop: threading.Event) -> None:
    """Work until `stop` is set; a batch in hand is finished first.

    Raises:
        PermanentError: the base, the ledger or a setting cannot be used at all.
    """
    with (
        open_ledger(settings.ledger.url) as ledger,
        _working(settings, ledger, role_metrics(settings)) as worker,
    ):
        log_engine(settings.serve.engine)
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


def work_until_idle(
    settings: Settings, done: Callable[[], bool] = lambda: True, *, wait_seconds: float = 0.0
) -> None:
    """Do all the work that there is now, in this process; for `upkeep apply`.

    Args:
        done: whether nothing is left to wait for, such as a batch that another worker has; asked until `wait_seconds` have
            passed without any work.
    """
    with (
        open_ledger(settings.ledger.url) as ledger,
        # Beside a running daemon: its metrics port is taken.
        _working(settings, ledger, role_metrics(settings, expose=False)) as worker,
    ):
        deadline = time.monotonic() + wait_seconds
        while True:
            while worker.work_once():
                deadline = time.monotonic() + wait_seconds
            if done() or time.monotonic() >= deadline:
                return
            time.sleep(settings.worker.poll_seconds)


@contextmanager
def _working(settings: Settings, ledger: Ledger, metrics: Metrics) -> Iterator[Worker]:
    """A worker; it takes its sign of life back where it ends as it should, so that only one that broke down is missed."""
    worker = _open_worker(settings, ledger, metrics)
    try:
        yield worker
    except KeyboardInterrupt:
        worker.take_leave()
        raise
    worker.take_leave()


def _open_worker(settings: Settings, ledger: Ledger, metrics: Metrics) -> Worker:
    for name, table in settings.editors.tables.items():
        build_editor(name, table)  # a wrong setting fails now, not at two in the morning
    for suite in known_suites(settings):
        fixed_probes(suite, settings)
    ledger.migrate()
    model = open_model(settings, ledger)
    prove_replayable(model.edited.base)
    return Worker(settings, ledger, model, metrics)


def _seconds_since(then: datetime, now: datetime) -> float:
    return max(0.0, (now - then).total_seconds())
