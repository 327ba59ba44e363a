"""Everything of an embedded daemon, started in the order in which it is needed and stopped in the other."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from daemon.embedded.announcement import announce_when_ready, starting
from daemon.embedded.embedded_settings import CONFIG, given_settings, write_embedded
from daemon.embedded.state_folder import StateUnusable, state_folder
from daemon.ingest.consumer_lag import records_behind
from daemon.ingest.embedded_broker import EmbeddedBroker
from daemon.ingest.kafka_client import ensure_topics
from daemon.ledger import open_ledger
from daemon.process.listening import free_port
from daemon.process.supervisor import Supervisor, daemon_roles
from daemon.settings.complaints import BadSettings
from daemon.settings.settings import Settings
from edits.errors import PermanentError, TemporaryError

BROKER_PORT, API_PORT = 9092, 8080  # where these are free: those that everybody's examples name
DRAIN_SECONDS = 10.0

_log = structlog.get_logger()


def run_embedded(
    state: Path, config: Path | None, model: str | None, *, asked: threading.Event, say: Callable[[str], None]
) -> int:
    """Run broker, ledger and all roles in one folder until `asked` is set; the exit code.

    What was published before is taken in before the broker goes, as far as that takes no longer than `DRAIN_SECONDS`.

    Args:
        config: a settings file of the reader's own.
        model: folder or hub id; None: the file names it.
        asked: somebody wants it to stop.
        say: prints for the reader.

    Raises:
        BadSettings: a setting is wrong, or contradicts the embedded daemon; named.
        StateInUse, StateUnusable: the folder.
        BrokerMissing: there is no embedded broker for this machine, or it does not start.
        LedgerUnreadable, LedgerUnavailable: the ledger in the folder.
    """
    with state_folder(state) as place:
        own_file = config is not None and config.absolute() == place / CONFIG
        given = given_settings(config, model, decided_too=own_file)
        if given.model.path is None:
            raise BadSettings("run --embedded needs a model: --model DIR, a folder or a Hugging Face hub id")
        path = given.model.required_path()
        with EmbeddedBroker(_broker_port()) as broker:
            try:
                port = free_port(given.serve.port if own_file else API_PORT)
                settings = write_embedded(
                    place, config, path, brokers=broker.bootstrap_servers, port=port, own_file=own_file
                )
            except OSError as error:
                raise StateUnusable(f"{place / CONFIG} cannot be written: {error.strerror}") from error
            _require_free(settings)
            with open_ledger(settings.ledger.url) as ledger:
                ledger.migrate()
            say(starting(place, settings))
            stop = threading.Event()
            announce_when_ready(place, settings, stop=stop, say=say)
            watch = _BrokerWatch(broker, settings, asked=asked, stop=stop)
            return Supervisor(daemon_roles(place / CONFIG), stop=stop, between=watch.look).run()


class _BrokerWatch:
    """Starts the broker again when it dies, and lets nothing end before the consumer has taken what the broker holds."""

    def __init__(
        self, broker: EmbeddedBroker, settings: Settings, *, asked: threading.Event, stop: threading.Event
    ) -> None:
        self._broker = broker
        self._settings = settings
        self._asked = asked
        self._stop = stop
        self._deadline: float | None = None

    def look(self) -> None:
        """Called again and again; sets `stop` when all may end.

        Raises:
            BrokerMissing: the broker died and does not start again.
        """
        if self._broker.revive():
            _log.warning(
                "the embedded broker had ended: started again; send again what it had not handed over"
            )
            self._make_topics()
        if not self._asked.is_set():
            return
        if self._deadline is None:
            self._deadline = time.monotonic() + DRAIN_SECONDS
        behind = self._behind()
        if behind and time.monotonic() < self._deadline:
            return
        if behind:
            _log.warning("records end with the embedded broker: submit them again", records=behind)
        self._stop.set()

    def _make_topics(self) -> None:
        """At once: a consumer that joins its group while there is no topic gets no part of it."""
        kafka = self._settings.kafka
        try:
            ensure_topics(kafka, kafka.topics)
        except (TemporaryError, PermanentError) as error:
            _log.warning("the embedded broker has no topics yet: the consumer makes them", reason=str(error))

    def _behind(self) -> int:
        try:
            return records_behind(self._settings.kafka)
        except (TemporaryError, PermanentError) as error:
            _log.warning("what the embedded broker still holds is not known", reason=str(error))
            return 0


def _broker_port() -> int | None:
    return BROKER_PORT if free_port(BROKER_PORT) == BROKER_PORT else None


def _require_free(settings: Settings) -> None:
    """A port that the reader chose and that is taken would be waited for; at a first start that helps nobody."""
    wanted = {"serve.port": settings.serve.port, "serve.metrics_port": settings.serve.metrics_port}
    for name, port in wanted.items():
        if port is not None and free_port(port) != port:
            raise BadSettings(f"{name}: port {port} is taken; name another one")
