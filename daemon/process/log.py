"""Logs of every role: one JSON object a line on standard error, or coloured lines where a human watches.

`structlog.contextvars.bound_contextvars(event_id=..., batch_id=...)` around a piece of work puts these ids
on every line that is logged inside, also by libraries.
"""

import logging
import sys
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from daemon.process.outage import RepeatsOncePerMinute
from daemon.settings.secrets import MASK, SECRET_KEY, mask_text
from daemon.settings.tables import LogSettings

# Below this level these libraries repeat what our borders already log; at level debug they are let through.
LIBRARY_LEVELS = {
    "kafka": logging.CRITICAL,  # an error for each refused connection, while daemon.process.outage logs one a minute
    "alembic": logging.ERROR,
    "sqlalchemy": logging.ERROR,
    "transformers": logging.ERROR,
    "urllib3": logging.ERROR,
    "uvicorn": logging.ERROR,
}


def configure_logging(settings: LogSettings, role: str) -> None:
    """Set up structlog and the standard library's logging for this process; `role` stands on every line.

    Human-readable lines are chosen where standard error is a terminal or `log.json` is false.
    """
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    human = sys.stderr.isatty() or not settings.as_json
    shared = _shared_processors(role)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(human=human, colours=sys.stderr.isatty()),
                _mask_line,  # tracebacks and nested values too
            ],
        )
    )
    handler.addFilter(RepeatsOncePerMinute("kafka"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, quiet in LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(level if level == logging.DEBUG else quiet)


def _shared_processors(role: str) -> list[Processor]:
    def add_role(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("role", role)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_role,
        _mask_secrets,
    ]


def _rendering(*, human: bool, colours: bool) -> list[Processor]:
    # No local variables in tracebacks: they hold passwords, and whole batches of events.
    if human:
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain)]
    return [
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]


def _mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A second fence: secrets are not meant to be logged, but a URL in a driver's message may hold one."""
    for key, value in event.items():
        event[key] = _masked(key, value)
    return event


def _mask_line(_logger: WrappedLogger, _method: str, line: Any) -> str:
    return mask_text(line)


def _masked(key: str, value: Any) -> Any:
    if SECRET_KEY.search(key):
        return MASK
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, dict):
        return {name: _masked(str(name), inner) for name, inner in value.items()}
    return value
