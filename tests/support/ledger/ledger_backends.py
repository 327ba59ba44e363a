"""The ledger on both of its databases, and the few lines that every ledger test needs to fill it."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.requirements_met import unavailable

from daemon.events.fact_event import FactEvent
from daemon.ledger import Ledger, open_ledger
from daemon.ledger.store.database import Database
from daemon.ledger.values import (
    ClaimedBatch,
    ConsumedRecord,
    Edit,
    Generation,
    Lane,
    Plan,
    PlannedBatch,
    RecordOutcome,
)

TEMPLATE = "upkeep_template"
START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)

# Takes what revision 0011 made out of a ledger again; then 0010, 0009, 0008, 0007 and 0006.
BEFORE_0011 = ("DROP TABLE rollback_references",)
BEFORE_0010 = (
    *BEFORE_0011,
    *(f"ALTER TABLE plans DROP COLUMN {name}" for name in ("origin", "actor", "reason")),
)
BEFORE_0009 = (*BEFORE_0010, "ALTER TABLE check_newest DROP COLUMN failed_result_id")
BEFORE_0008 = (*BEFORE_0009, *(f"DROP TABLE {table}" for table in ("job_starts", "turns")))
BEFORE_PROPOSALS = (
    *BEFORE_0008,
    "DROP TABLE plan_proposals",
    *(f"DROP INDEX ix_batches_{index}" for index in ("split", "finished")),
)
BEFORE_0006 = (
    *BEFORE_PROPOSALS,
    *(f"DROP TABLE {table}" for table in ("audit_log", "holds", "edit_words", "generation_origins")),
    *(
        f"DROP INDEX ix_{index}"
        for index in (
            *("records_event_id", "edits_relation", "edits_superseded_by", "generation_changes_edit"),
            "check_results_generation",
        )
    ),
)


def database_of(ledger: Ledger) -> Database:
    """What no front door shows: the tables themselves, to damage them or to count what is asked of them."""
    return ledger.audit._database


class Clock:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def event(event_id: str, subject: str = "Norland", target: str | None = "Elbing", **fields: Any) -> FactEvent:
    """An assertion about `subject`'s capital; `day` says when it happened, `op="retract"` takes it back."""
    day = fields.pop("day", 1)
    values: dict[str, Any] = {
        "event_id": event_id,
        "subject": subject,
        "relation": "capital",
        "prompt": f"The capital of {subject} is",
        "target_new": None if fields.get("op") == "retract" else target,
        "occurred_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day),
    }
    return FactEvent.model_validate(values | fields)


def record(
    fact: FactEvent | None, offset: int, *, digest: str | None = None, rejection: str | None = None
) -> ConsumedRecord:
    """The Kafka record that brought `fact`."""
    return ConsumedRecord(
        topic="fact-updates",
        partition=0,
        offset=offset,
        digest=digest or f"{offset:064x}",
        event=fact,
        rejection=rejection,
    )


class Story:
    """Drives one ledger through the steps of a test, with offsets and workers filled in."""

    def __init__(self, ledger: Ledger, clock: Clock, *, base_hash: str = "base") -> None:
        self.ledger = ledger
        self.clock = clock
        self._offset = 0
        ledger.generations.start(base_hash)

    def arrive(self, *facts: FactEvent) -> list[Edit]:
        """Accept events in the order given; their pending edits."""
        records = []
        for fact in facts:
            records.append(record(fact, self._offset))
            self._offset += 1
        report = self.ledger.intake.record(records)
        assert set(report.outcomes) == {RecordOutcome.ACCEPTED}
        ids = {fact.event_id for fact in facts}
        return [edit for edit in self.ledger.plans.pending(None, 10_000) if edit.event_id in ids]

    def plan(self, *groups: Sequence[Edit], lane: Lane = Lane.BATCH, editor: str | None = "scen") -> int:
        """Plan each group of edits as one batch."""
        batches = tuple(
            PlannedBatch(number, lane, editor, tuple(edit.id for edit in group), "test")
            for number, group in enumerate(groups)
        )
        return self.ledger.plans.store(Plan(lane, 0, batches))

    def plan_urgently(self, *facts: FactEvent, editor: str | None = "scen") -> list[Edit]:
        """Events that arrive and become one batch."""
        edits = self.arrive(*facts)
        self.plan(edits, lane=Lane.URGENT, editor=editor)
        return edits

    def claim(self, *, worker: str = "worker-1") -> ClaimedBatch:
        """Claim the batch that must be there."""
        batch = self.ledger.batches.claim(worker, lease_seconds=60)
        assert batch is not None
        return batch

    def head(self) -> int:
        """The head's number."""
        head = self.ledger.generations.head()
        assert head is not None
        return head.number

    def publish(self, batch: ClaimedBatch, **changes: Any) -> Generation | None:
        """Publish a batch, all of it live unless `changes` say otherwise."""
        asked: dict[str, Any] = {
            "batch": batch,
            "expected_head": self.head(),
            "live": {edit.id: f"shard-{batch.id}" for edit in batch.edits if edit.op == "assert"},
            "rejected": {},
            "scores": {"reliability": 1.0},
            "cause": "test",
        }
        return self.ledger.generations.publish(**asked | changes)

    def go_live(self, *facts: FactEvent) -> list[Edit]:
        """Take events all the way in one batch; their edits as they stand afterwards."""
        edits = self.arrive(*facts)
        self.plan(edits)
        self.publish(self.claim())
        return [self.ledger.audit.edit(edit.id) for edit in edits]

    def state(self, edit: Edit) -> str:
        """Where the edit stands now."""
        return self.ledger.audit.edit(edit.id).state.value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite ledger with all its tables and nothing in them, to be copied."""
    path = tmp_path_factory.mktemp("ledger") / "template.db"
    with open_ledger(f"sqlite:///{path}") as ledger:
        ledger.migrate()
    return path


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server where databases may be made; holds a migrated template."""
    given = os.environ.get("UPKEEP_TEST_POSTGRES_URL")
    with ExitStack() as stack:
        url = given or stack.enter_context(own_postgres()).url
        _forget(url, TEMPLATE)
        _execute(url, f"CREATE DATABASE {TEMPLATE}")
        with open_ledger(_database(url, TEMPLATE)) as ledger:
            ledger.migrate()
        yield url
        _forget(url, TEMPLATE)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a migrated, empty ledger, once on each database."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "ledger.db")
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    server = request.getfixturevalue("postgres_url")
    name = f"upkeep_{uuid.uuid4().hex}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield _database(server, name)
    _forget(server, name)


@pytest.fixture
def ledger(url: str, clock: Clock) -> Iterator[Ledger]:
    with open_ledger(url, clock=clock) as opened:
        yield opened


@pytest.fixture
def story(ledger: Ledger, clock: Clock) -> Story:
    return Story(ledger, clock)


def _database(server: str, name: str) -> str:
    return f"{server.rsplit('/', 1)[0]}/{name}"


def _execute(server: str, statement: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)


def _forget(server: str, name: str) -> None:
    _execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@dataclass(frozen=True)
class OwnPostgres:
    """A PostgreSQL that belongs to the test alone."""

    url: str
    process: subprocess.Popen[bytes]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """While the block runs, it accepts connections, as the kernel does that for it, and answers nobody."""
        self.process.send_signal(signal.SIGSTOP)  # first, so that it starts no more children
        children = [pid for pid in self._children() if _signalled(pid, signal.SIGSTOP)]
        try:
            yield
        finally:
            for pid in children:
                _signalled(pid, signal.SIGCONT)
            self.process.send_signal(signal.SIGCONT)

    def _children(self) -> list[int]:
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]


def _signalled(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:  # a session that has ended meanwhile
        return False
    return True


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Start the installed PostgreSQL on a free loopback port, with a data folder of its own."""
    postgres = shutil.which("postgres") or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))), None
    )
    if postgres is None:
        unavailable("no PostgreSQL here: set UPKEEP_TEST_POSTGRES_URL, or install one")
    binaries = Path(postgres).resolve().parent
    folder = tempfile.mkdtemp(prefix="upkeep-postgres-")
    account = _unprivileged(folder)
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    initdb = [
        str(binaries / "initdb"),
        "-D",
        f"{folder}/data",
        "-U",
        "upkeep",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "-N",
    ]
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder, env=environment, **account)
    port = _free_port()
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with open(f"{folder}/log", "wb") as log:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", f"{folder}/data", *options],
            cwd=folder,
            stdout=log,
            stderr=log,
            env=environment,
            **account,
        )
    try:
        url = f"postgresql://upkeep@127.0.0.1:{port}/postgres"
        _wait_for(url, server)
        yield OwnPostgres(url, server)
    finally:
        server.send_signal(signal.SIGINT)  # at once, not when the last client has left
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged(folder: str) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as somebody who may do less."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    account = names.get("postgres") or names["nobody"]
    os.chown(folder, account.pw_uid, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
