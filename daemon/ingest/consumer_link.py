"""One connection to the cluster: kafka-python's consumer and producer, and what is paused and why."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener

from daemon.ingest.kafka_client import KafkaTiming, Rebalanced, RebalanceLost, offsets_of, translated

POLL_MS = 500

Polled = Mapping[TopicPartition, Sequence[ConsumerRecord]]


class ConsumerLink(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """One connection to the cluster: kafka-python's consumer and producer, and what is paused and why.

    The position of a partition is always behind the last record that is in the ledger, so committing
    positions commits exactly that.
    """

    def __init__(
        self,
        consumer: KafkaConsumer,
        producer: KafkaProducer,
        *,
        timing: KafkaTiming,
        rebalance_seconds: float,
        log: Any,
    ) -> None:
        """
        Args:
            rebalance_seconds: a group that has given us nothing, not even no partition, for so long is joined anew.
        """
        self.producer = producer
        self.paused = False
        self.paused_for_backlog = False
        self._consumer = consumer
        self._log = log
        self._resume_at = 0.0
        self._timing = timing
        self._watch_at = time.monotonic() + timing.watch_seconds
        self._uncommitted = False
        self._restarting = False
        self._rebalance_seconds = rebalance_seconds
        self._rebalancing_since: float | None = None

    def poll(self) -> Polled:
        """
        Raises:
            BrokerUnavailable: no broker answers.
            KafkaRefused: we have no right to read.
            RebalanceLost: kafka-python 3.0 drops the result of a rebalance that new partitions began when a poll ends just
                before it comes, and then waits for ever.
        """
        with translated("polling"):
            polled: Polled = self._consumer.poll(timeout_ms=POLL_MS)
        since = self._rebalancing_since
        if since is not None and time.monotonic() - since > self._rebalance_seconds:
            raise RebalanceLost(f"a rebalance has not ended in {self._rebalance_seconds:g} s")
        return polled

    def release(self, polled: Polled) -> None:
        """Return to where these records came from: they will be polled again."""
        for place, records in polled.items():
            if place in self._consumer.assignment():
                self._consumer.seek(place, records[0].offset)

    def commit(self) -> None:
        """Commit what is in the ledger. A rebalance meanwhile is no harm: the ledger knows these records again."""
        self._uncommitted = True
        try:
            with translated("committing offsets"):
                self._consumer.commit(timeout_ms=self._timing.answer_ms)
        except Rebalanced as error:
            self._log.info("offsets were not committed; the records come again", why=str(error))
        else:
            self._uncommitted = False
            self._restarting = False

    def pause(self, *, until: float, for_backlog: bool = False) -> None:
        self.paused, self.paused_for_backlog, self._resume_at = True, for_backlog, until
        self._consumer.pause(*self._consumer.assignment())

    def may_resume(self) -> bool:
        return time.monotonic() >= self._resume_at

    def resume(self) -> None:
        self.paused, self.paused_for_backlog = False, False
        self._consumer.resume(*self._consumer.paused())

    def lag(self, polled: Polled) -> dict[TopicPartition, int]:
        """How far these records are behind the end, by the broker's high-water mark when they were fetched."""
        held = self._consumer.assignment()
        ends = {place: self._consumer.highwater(place) for place in polled if place in held}
        return {
            place: max(end - polled[place][-1].offset - 1, 0)
            for place, end in ends.items()
            if end is not None
        }

    def restart(self) -> None:
        """Read from the beginning what we hold, and what we are given until the first commit: the ledger knows repeats."""
        self._restarting = True
        if held := self._consumer.assignment():
            self._consumer.seek_to_beginning(*held)

    def watch_is_due(self) -> bool:
        return time.monotonic() >= self._watch_at

    def measured_lag(self) -> dict[TopicPartition, int]:
        """How far our partitions are behind the end now; asks the broker."""
        self._watch_at = time.monotonic() + self._timing.watch_seconds
        held = list(self._consumer.assignment())
        ends = offsets_of(self._consumer.end_offsets, held, self._timing)
        with translated("asking for our positions"):
            positions = {
                place: self._consumer.position(place, timeout_ms=self._timing.answer_ms)
                for place in held
                if place in self._consumer.assignment()
            }
        return {
            place: max(ends[place] - position, 0)
            for place, position in positions.items()
            if position is not None and place in ends
        }

    def forget_uncommitted(self) -> None:
        """Leave these records to the next one who polls them."""
        self._uncommitted = False

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Commit what the last `commit` could not, while these partitions are still ours."""
        if self._uncommitted and revoked:
            try:
                await self._consumer.commit_async()
                self._uncommitted = False
            except Exception as error:  # the next owner gets the records again, and the ledger knows them
                self._log.info("offsets were not committed at the rebalance", why=str(error))
        self._rebalancing_since = time.monotonic()
        self._log.info("partitions revoked", partitions=_names(revoked))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._rebalancing_since = None
        if self.paused:
            self._consumer.pause(*assigned)
        if self._restarting and assigned:
            self._consumer.seek_to_beginning(*assigned)
        self._log.info("partitions assigned", partitions=_names(assigned))

    async def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        self._rebalancing_since = time.monotonic()
        self._log.warning("partitions lost: the group thought we were dead", partitions=_names(lost))


def _names(places: set[TopicPartition]) -> list[str]:
    return sorted(f"{place.topic}/{place.partition}" for place in places)
