"""A disk that is full: work is put off, the log says why, and it goes on by itself once there is room."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.acceptance_support import furnished, news
from support.waiting import eventually

from daemon.ingest.embedded_broker import EmbeddedBroker


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two folders, each on a disk of its own of 4 MB."""
    with contextlib.ExitStack() as stack:
        folders = tmp_path / "ledger-disk", tmp_path / "store-disk"
        for folder in folders:
            folder.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
            if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
                pytest.skip("only root can mount a small disk, and only outside of most containers")
            stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        yield folders


def test_a_full_disk_under_the_store_or_the_ledger_loses_nothing(
    broker: EmbeddedBroker, tmp_path: Path, disks: tuple[Path, Path]
) -> None:
    ledger_disk, store_disk = disks
    changes: dict[str, dict[str, Any]] = {
        "kafka": {"bootstrap_servers": broker.bootstrap_servers},
        "ledger": {"url": f"sqlite:///{ledger_disk}/ledger.db"},
        "store": {"path": str(store_disk / "adapters")},
        "verify": {"max_attempts": 1},  # a full disk is no batch's fault: it must not count
    }
    first, second = news("first", 3), news("second", 3, skip=3)
    with furnished(tmp_path, changes) as site, site.daemon() as daemon:
        with _filled(store_disk):
            site.publish([item.record for item in first])
            eventually(lambda: daemon.logged("batch put off"), "the worker cannot save its shard")
            assert "No space left" in daemon.logged("batch put off")[0]["reason"]
        eventually(lambda: site.unfinished() == 0 and site.head() == 1, "the first facts are live")

        with _filled(ledger_disk):
            site.publish([item.record for item in second])
            eventually(
                lambda: daemon.logged("the ledger is away: partitions are paused"), "it cannot be written"
            )
            site.wait_served()  # reading goes on
        eventually(lambda: site.consumed() == 6 and site.unfinished() == 0, "all facts have ended")
        site.wait_served()
        reported = [*first, *second]
        assert site.answers([item.prompt for item in reported]) == [item.value for item in reported]
        site.require_sound(consumed=6)
        assert not daemon.logged("role ended")


@contextlib.contextmanager
def _filled(disk: Path) -> Iterator[None]:
    """Take the last byte of a disk, and give it back at the end."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    try:
        yield
    finally:
        filler.unlink()
