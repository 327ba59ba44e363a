"""A rebalance whose result kafka-python loses: the consumer joins its group anew, and does so only then."""

import asyncio
import time
from typing import Any

import pytest
import structlog

from daemon.ingest.consumer_link import ConsumerLink
from daemon.ingest.kafka_client import DEFAULT_TIMING, RebalanceLost

PATIENCE = 0.2


class Silent:
    """A kafka-python consumer without partitions: it polls, and nothing comes."""

    def poll(self, timeout_ms: int) -> dict[Any, Any]:
        return {}


def link() -> ConsumerLink:
    log = structlog.get_logger()
    return ConsumerLink(Silent(), None, timing=DEFAULT_TIMING, rebalance_seconds=PATIENCE, log=log)


def test_a_rebalance_that_never_ends_is_given_up() -> None:
    waiting = link()
    asyncio.run(waiting.on_partitions_revoked(set()))
    assert waiting.poll() == {}
    time.sleep(PATIENCE)
    with pytest.raises(RebalanceLost, match=r"has not ended in 0\.2 s"):
        waiting.poll()


@pytest.mark.parametrize("ends", [True, False])
def test_a_member_that_was_given_no_partition_waits_for_as_long_as_it_takes(ends: bool) -> None:
    spare = link()
    if ends:
        asyncio.run(spare.on_partitions_lost(set()))
        asyncio.run(spare.on_partitions_assigned(set()))
    time.sleep(PATIENCE)
    assert spare.poll() == {}
