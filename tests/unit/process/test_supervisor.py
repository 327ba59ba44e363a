"""The supervisor, with real child processes and real signals."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from daemon.process.supervisor import Backoff, Role, Supervisor
from monitoring.metrics.process_metrics import exposed_registry

REPOSITORY = Path(__file__).resolve().parents[3]
QUICK = Backoff(first_seconds=0.05, max_seconds=0.4, healthy_seconds=60)

# A role as all roles are: it stops when told, and leaves a trace of each start and of each graceful stop.
ROLE = """
import os, sys
from pathlib import Path
from daemon.process.parent_watch import stop_on_signals
stop = stop_on_signals()
trace = Path(sys.argv[1])
(trace / f"started-{os.getpid()}").touch()
stop.wait()
(trace / f"stopped-{os.getpid()}").touch()
"""


def _wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def _role(script: str, *arguments: str) -> Role:
    return Role("test", (sys.executable, "-c", script, *arguments))


def _pids(trace: Path, word: str) -> list[int]:
    return [int(path.name.split("-")[1]) for path in sorted(trace.glob(f"{word}-*"), key=_age)]


def _age(path: Path) -> int:
    return path.stat().st_mtime_ns


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A killed child that nobody has waited for is still listed, as a zombie.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


@contextmanager
def _running(supervisor: Supervisor, stop: threading.Event) -> Iterator[list[int]]:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(supervisor.run()))
    thread.start()
    try:
        yield codes
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a killed supervisor leaves its folder of metrics behind
    return tmp_path


def test_a_killed_role_is_started_again_and_all_stop_gracefully(trace: Path) -> None:
    stop = threading.Event()
    role = _role(ROLE, str(trace))
    with _running(Supervisor([role, role], stop=stop, backoff=QUICK), stop) as codes:
        _wait_for(lambda: len(_pids(trace, "started")) == 2)
        killed = _pids(trace, "started")[0]
        os.kill(killed, signal.SIGKILL)
        _wait_for(lambda: len(_pids(trace, "started")) == 3)

    assert codes == [0]
    assert set(_pids(trace, "stopped")) == set(_pids(trace, "started")) - {killed}


def test_a_role_that_keeps_dying_waits_longer_each_time(trace: Path) -> None:
    stop = threading.Event()
    script = "import sys, time; open(sys.argv[1], 'a').write(f'{time.time()}\\n'); sys.exit(70)"
    log = trace / "starts"
    with _running(Supervisor([_role(script, str(log))], stop=stop, backoff=QUICK), stop):
        _wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 5)

    starts = [float(line) for line in log.read_text().splitlines()]
    assert starts[4] - starts[3] > 0.35 > QUICK.delay(1)


def test_the_delay_doubles_up_to_its_bound() -> None:
    assert [QUICK.delay(failures) for failures in (1, 2, 3, 4, 5, 10_000)] == [0.05, 0.1, 0.2, 0.4, 0.4, 0.4]


def test_a_role_that_can_never_run_ends_the_whole_with_its_exit_code(trace: Path) -> None:
    stop = threading.Event()
    roles = [_role(ROLE, str(trace)), _role("import sys, time; time.sleep(0.5); sys.exit(1)")]
    with _running(Supervisor(roles, stop=stop, backoff=QUICK), stop) as codes:
        _wait_for(lambda: codes)

    assert codes == [1]
    assert not any(_alive(pid) for pid in _pids(trace, "started"))


def test_a_role_that_ignores_the_signal_is_killed_after_the_grace_period(trace: Path) -> None:
    stop = threading.Event()
    deaf = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "open(sys.argv[1] + f'/started-{os.getpid()}', 'w').close(); time.sleep(600)"
    )
    supervisor = Supervisor([_role(deaf, str(trace))], stop=stop, backoff=QUICK, stop_seconds=0.3)
    with _running(supervisor, stop):
        _wait_for(lambda: _pids(trace, "started"))

    assert not any(_alive(pid) for pid in _pids(trace, "started"))


def test_the_roles_of_a_killed_supervisor_stop_by_themselves(trace: Path) -> None:
    script = (
        "import sys, threading; from daemon.process.supervisor import Role, Supervisor; "
        "command = (sys.executable, '-c', sys.argv[1], sys.argv[2]); "
        "Supervisor([Role('a', command), Role('b', command)], stop=threading.Event()).run()"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", script, ROLE, str(trace)])
    _wait_for(lambda: len(_pids(trace, "started")) == 2)

    supervisor.kill()
    supervisor.wait()

    _wait_for(lambda: not any(_alive(pid) for pid in _pids(trace, "started")))
    assert len(_pids(trace, "stopped")) == 2


COUNTING = """
import os, sys
from daemon.process.metrics_folder import count_as
count_as("counting")
from prometheus_client import CollectorRegistry, Counter, Gauge
registry = CollectorRegistry()
Counter("starts", "How often.", registry=registry).inc()
Gauge("alive", "Now.", multiprocess_mode="livesum", registry=registry).set(1)
open(sys.argv[1], "w").write(os.environ["PROMETHEUS_MULTIPROC_DIR"])
os._exit(70)
"""


def test_a_role_that_is_restarted_goes_on_counting_in_its_own_files(trace: Path) -> None:
    stop, reported = threading.Event(), trace / "folder"
    role = Role("counting", (sys.executable, "-c", COUNTING, str(reported)))

    folders = set()  # each start writes the file anew, so that it may be read empty

    def total() -> float:
        if not reported.exists() or not (place := reported.read_text()):
            return 0.0
        folders.add(place)
        union = exposed_registry(CollectorRegistry(), multiproc_dir=place)
        return union.get_sample_value("starts_total") or 0.0

    with _running(Supervisor([role], stop=stop, backoff=QUICK), stop):
        _wait_for(lambda: total() >= 4)
        (folder,) = map(Path, folders)
        assert {path.name for path in folder.glob("*.db")} <= {
            "counter_counting.db",
            "gauge_livesum_counting.db",
        }

    assert not folder.exists()


SUPERVISING = """
import sys, threading
from daemon.process.supervisor import Role, Supervisor
stop = threading.Event()
if sys.argv[1] == "at once":
    stop.set()
Supervisor([Role("a", (sys.executable, "-c", *sys.argv[2:]))], stop=stop).run()
"""


def test_what_a_killed_supervisor_left_behind_goes_when_no_role_of_it_is_left(trace: Path) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISING, "for ever", ROLE, str(trace)])
    _wait_for(lambda: _pids(trace, "started"))
    (left,) = trace.glob("upkeep-metrics-*")
    (role,) = _pids(trace, "started")
    os.kill(role, signal.SIGSTOP)  # it does not notice yet that it is alone
    supervisor.kill()
    supervisor.wait()

    at_once = [sys.executable, "-c", SUPERVISING, "at once", ROLE, str(trace)]
    subprocess.run(at_once, check=True)
    assert left.exists()
    os.kill(role, signal.SIGCONT)
    _wait_for(lambda: not _alive(role))
    subprocess.run(at_once, check=True)
    assert not list(trace.glob("upkeep-metrics-*"))
