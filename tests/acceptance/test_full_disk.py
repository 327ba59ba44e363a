"""A disk that is full: work is put off, the log says why, and it goes on by itself once there is room."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance_support import furnished, news
from waiting import eventually

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
    changes = {
        "kafka": {"bootstrap_servers": broker.bootstrap_servers},
        "ledger": {"url": f"sqlite:///{ledger_disk}/ledger.db"},
        "store": {"path": str(store_disk / "adapters")},
        "verify": {"max_attempts": 1},  # a full disk is no batch's fault: it must not count
    }
    first, second = news("first", 3), news("second", 3, skip=3)
    with furnished(tmp_path, changes) as house, house.daemon() as daemon:
        with _filled(store_disk):
            house.publish([item.record for item in first])
            eventually(lambda: daemon.said("batch put off"), "the worker cannot save its shard")
            assert "No space left" in daemon.said("batch put off")[0]["reason"]
        eventually(lambda: house.unfinished() == 0 and house.head() == 1, "the first facts are live")

        with _filled(ledger_disk):
            house.publish([item.record for item in second])
            eventually(
                lambda: daemon.said("the ledger is away: partitions are paused"), "it cannot be written"
            )
            house.wait_served()  # reading goes on
        eventually(lambda: house.consumed() == 6 and house.unfinished() == 0, "all facts have ended")
        house.wait_served()
        told = [*first, *second]
        assert house.answers([item.prompt for item in told]) == [item.value for item in told]
        house.require_sound(consumed=6)
        assert not daemon.said("role ended")


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
