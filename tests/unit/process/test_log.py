"""Logs: one JSON object a line, with the ids of the work in hand, and without secrets."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from daemon.process.log import configure_logging
from daemon.settings.tables import LogSettings


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_carries_role_time_and_the_ids_of_the_work_in_hand(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(), "worker")

    with structlog.contextvars.bound_contextvars(event_id="e1", batch_id=7):
        structlog.get_logger("daemon.test").info("trained", edits=3)
        logging.getLogger("some.library").warning("slow %s", "disk")

    ours, theirs = _lines(capsys)
    assert (ours["event"], ours["role"], ours["edits"], ours["level"]) == ("trained", "worker", 3, "info")
    assert str(ours["timestamp"]).endswith("Z")
    assert [line["event_id"] for line in (ours, theirs)] == ["e1", "e1"]
    assert (theirs["event"], theirs["batch_id"], theirs["logger"]) == ("slow disk", 7, "some.library")


def test_secrets_are_masked_wherever_they_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(), "serve")

    structlog.get_logger().error("refused", sasl_password="hunter2", url="postgresql://me:hunter2@db/x")
    logging.getLogger("driver").error("no route to postgresql://me:hunter2@db/x")

    logged = capsys.readouterr().err
    assert "hunter2" not in logged
    assert "postgresql://me:***@db/x" in logged


def test_an_error_is_one_line_with_its_traceback_inside(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(), "consume")

    try:
        int("no such thing")
    except ValueError:
        structlog.get_logger().exception("failed")

    (line,) = _lines(capsys)
    assert "no such thing" in json.dumps(line["exception"])


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_tells_no_local_variables(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    configure_logging(LogSettings(as_json=as_json), "consume")

    def log_in(password: str) -> None:
        raise OSError("refused")

    try:
        log_in("".join(("hunter", "2")))
    except OSError:
        structlog.get_logger().exception("failed")

    logged = capsys.readouterr().err
    assert "refused" in logged
    assert "hunter2" not in logged


def test_the_level_holds_and_libraries_do_not_repeat_what_we_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(LogSettings(level="info"), "consume")

    structlog.get_logger().debug("detail")
    logging.getLogger("kafka.conn").error("connection failed, trying again")

    assert _lines(capsys) == []


def test_people_get_lines_without_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(as_json=False), "run")

    structlog.get_logger().info("role started", pid=4)

    logged = capsys.readouterr().err
    assert "role started" in logged
    assert "{" not in logged
