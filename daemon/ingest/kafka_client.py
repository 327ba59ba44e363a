"""The one border to Kafka: kafka-python's clients built from the settings, and its errors translated.

TemporaryError
+-- BrokerUnavailable   no broker answers, or it asks to try again
    +-- Rebalanced      our partitions are somebody else's now
+-- RebalanceLost       a rebalance that has not ended
PermanentError
+-- KafkaRefused        the broker or kafka-python refuses what the settings ask for
    +-- MessageTooLarge the broker takes no message of this size
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient

from daemon.ingest.record_batches import MAX_BATCH_BYTES, read_hostile_batches
from daemon.settings.tables import KafkaSettings
from edits.errors import PermanentError, TemporaryError

# A message of 1 MiB must fit with its key and headers; the broker's own limit is the one that counts.
MAX_REQUEST_BYTES = 80 << 20

_PERMANENT = (
    kafka_errors.AuthorizationError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.KafkaConfigurationError,
    kafka_errors.UnsupportedVersionError,
    kafka_errors.InvalidTopicError,
)
_TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)


class BrokerUnavailable(TemporaryError):
    """No broker answers, or it asks to try again; what was not confirmed has to be sent again."""


class KafkaRefused(PermanentError):
    """The broker or kafka-python refuses what the settings ask for: credentials, rights, a codec, a name."""


class MessageTooLarge(KafkaRefused):
    """The broker does not take messages of this size."""


class Rebalanced(BrokerUnavailable):
    """The group gave our partitions to somebody else meanwhile: the offsets are theirs to commit."""


class RebalanceLost(TemporaryError):
    """A rebalance has not ended: the broker answers, and the group is to be joined anew."""


@dataclass(frozen=True, slots=True)
class KafkaTiming:
    """How long the clients wait for a broker, and how often the consumer looks whether it is there."""

    answer_ms: int = 10_000  # a call that only asks something: an outage is noticed after this time
    # Nothing else happens meanwhile, a stop signal has to wait for it; tries follow each other anyway.
    bootstrap_ms: int = 5_000
    watch_seconds: float = 5.0


DEFAULT_TIMING = KafkaTiming()


@dataclass(frozen=True, slots=True)
class ProducerRecord:
    """One record to produce."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Every error of kafka-python that leaves this block leaves it as one of ours."""
    try:
        yield
    except _TOO_LARGE as error:
        raise MessageTooLarge(f"{doing}: {error}") from error
    except kafka_errors.UnsupportedCodecError as error:
        hint = "pip install 'upkeep-llm[daemon]' brings the codecs"
        raise KafkaRefused(f"{doing}: {error}; {hint}") from error
    except _PERMANENT as error:
        raise KafkaRefused(f"{doing}: {error}") from error
    except (
        kafka_errors.CommitFailedError,
        kafka_errors.IllegalGenerationError,
        kafka_errors.UnknownMemberIdError,
        kafka_errors.RebalanceInProgressError,
    ) as error:
        raise Rebalanced(f"{doing}: {error}") from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise BrokerUnavailable(f"{doing}: {error}") from error


def open_producer(settings: KafkaSettings, timing: KafkaTiming = DEFAULT_TIMING) -> KafkaProducer:
    """A producer whose confirmations mean that every in-sync replica has the message.

    Raises:
        BrokerUnavailable: no broker answers.
        KafkaRefused: the broker or kafka-python refuses the settings.
    """
    with translated(f"connecting to {settings.bootstrap_servers}"):
        return _built(
            KafkaProducer,
            **_connection(settings, timing),
            metrics_enabled=False,  # kafka-python's own; ours are in monitoring/metrics/process_metrics.py
            acks="all",
            allow_auto_create_topics=False,  # `ensure_topics` does it, with our number of partitions
            # At least once is enough, for every reader of ours knows what it has seen; an idempotent producer
            # would need one more right, and never recovers from a broker that forgot it.
            enable_idempotence=False,
            max_in_flight_requests_per_connection=1,  # so that a retry does not change the order
            linger_ms=5,
            max_request_size=MAX_REQUEST_BYTES,
            max_block_ms=timing.answer_ms,
            delivery_timeout_ms=max(settings.request_timeout_ms, timing.answer_ms) + 5_000,
        )


def open_consumer(
    settings: KafkaSettings,
    *,
    max_poll_records: int,
    max_batch_bytes: int = MAX_BATCH_BYTES,
    timing: KafkaTiming = DEFAULT_TIMING,
) -> KafkaConsumer:
    """A consumer of the group that commits only on `commit`, and starts at the beginning.

    Args:
        max_batch_bytes: of a compressed batch of records, once it is decompressed; what goes beyond comes without its value.

    Raises:
        BrokerUnavailable: no broker answers.
        KafkaRefused: the broker or kafka-python refuses the settings.
    """
    read_hostile_batches(max_batch_bytes)
    with translated(f"connecting to {settings.bootstrap_servers}"):
        return _built(
            KafkaConsumer,
            **_connection(settings, timing),
            metrics_enabled=False,
            group_id=settings.group_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,  # `ensure_topics` does it, with our number of partitions
            max_poll_records=max_poll_records,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=max(settings.session_timeout_ms // 4, 250),
            metadata_max_age_ms=30_000,
        )


def ensure_topics(
    settings: KafkaSettings, topics: Sequence[str], timing: KafkaTiming = DEFAULT_TIMING
) -> list[str]:
    """Create those of `topics` that are missing; the ones created.

    Raises:
        BrokerUnavailable: no broker answers; or a topic is missing and the settings forbid to create it.
        KafkaRefused: we have no right to look or to create.
    """
    with translated(f"looking for the topics at {settings.bootstrap_servers}"):
        admin = _open_admin(settings, timing)
        try:
            existing = set(admin.list_topics())
            missing = [name for name in topics if name not in existing]
            if missing and not settings.create_topics:
                raise BrokerUnavailable(
                    f"the topic {missing[0]} does not exist: create it, or set kafka.create_topics = true"
                )
            for name in missing:
                with contextlib.suppress(kafka_errors.TopicAlreadyExistsError):  # somebody else was faster
                    admin.create_topics(
                        {name: {"num_partitions": settings.partitions, "replication_factor": -1}},
                        timeout_ms=timing.answer_ms,
                    )
            return missing
        finally:
            admin.close()


class TopicIdentity:
    """Which topic stands under a name: a broker that lost its log, or a person, may have made it anew (KIP-516)."""

    def __init__(self, settings: KafkaSettings, topic: str, timing: KafkaTiming = DEFAULT_TIMING) -> None:
        self._settings = settings
        self._topic = topic
        self._timing = timing
        self._admin: KafkaAdminClient | None = None
        self._known: str | None = None

    def has_changed(self) -> bool:
        """Whether another topic stands there than at the last call; False at the first, and before Kafka 2.8 (no ids).

        Raises:
            BrokerUnavailable: no broker answers.
            KafkaRefused: we have no right to ask.
        """
        try:
            before, self._known = self._known, self._asked() or self._known
        except (BrokerUnavailable, KafkaRefused):
            self.close()
            raise
        return before is not None and before != self._known

    def close(self) -> None:
        """Drop the connection; what is known stays, and the next call makes a new one."""
        if self._admin is not None:
            with contextlib.suppress(TemporaryError), translated("closing"):
                self._admin.close()
            self._admin = None

    def _asked(self) -> str | None:
        with translated(f"asking for the topic {self._topic}"):
            self._admin = self._admin or _open_admin(self._settings, self._timing)
            (found,) = self._admin.describe_topics([self._topic])
        named = found["topic_id"]
        return str(named) if named and not found["error_code"] and uuid.UUID(str(named)).int else None


def offsets_of(
    ask: Callable[..., dict[TopicPartition, int]],
    places: Sequence[TopicPartition],
    timing: KafkaTiming = DEFAULT_TIMING,
) -> dict[TopicPartition, int]:
    """What `end_offsets` or `beginning_offsets` of a consumer says about these partitions.

    Raises:
        BrokerUnavailable: no broker answers, or the topic has lost one of them.
        KafkaRefused: we have no right to ask.
    """
    try:
        with translated("asking how far the partitions go"):
            return ask(places, timeout_ms=timing.answer_ms) if places else {}
    except KeyError as error:  # kafka-python's own
        raise BrokerUnavailable(f"the broker no longer has {error}") from error


def send_all(producer: KafkaProducer, messages: Sequence[ProducerRecord], *, timeout_seconds: float) -> None:
    """Send the messages and wait until each of them is confirmed.

    Raises:
        MessageTooLarge: one of them is too large for the broker; others may have arrived.
        BrokerUnavailable: not all are confirmed; each of them may or may not have arrived.
        KafkaRefused: we have no right to write there.
    """
    if not messages:
        return
    with translated(f"writing to {messages[0].topic}"):
        sent = [
            producer.send(message.topic, message.value, message.key, list(message.headers))
            for message in messages
        ]
        producer.flush(timeout_seconds)
        for future in sent:
            future.get(timeout_seconds)


def close_producer(producer: KafkaProducer, *, seconds: float = 1.0) -> None:
    """Close it, broker or no broker; what is not confirmed after `seconds` is given up, and not sent later."""
    with contextlib.suppress(TemporaryError), translated("closing"):
        producer.close(timeout=seconds)
        return
    # kafka-python's `close` raises before it stops its thread when messages are left: without them it does not.
    producer._sender.force_close()
    with contextlib.suppress(TemporaryError), translated("closing"):
        producer.close(timeout=seconds)


def close_consumer(consumer: KafkaConsumer, *, seconds: float = 3.0) -> None:
    """Close it and commit nothing; one that cannot leave its group because nobody answers is gone all the same."""
    with contextlib.suppress(TemporaryError), translated("closing"):
        consumer.close(autocommit=False, timeout_ms=int(seconds * 1000))


def _built(kind: Callable[..., Any], **options: Any) -> Any:
    """A client; one that does not come about leaves no thread behind, which kafka-python's own would."""
    inner: list[KafkaNetClient] = []

    def capture(**configs: Any) -> KafkaNetClient:
        inner.append(KafkaNetClient(**configs))
        return inner[-1]

    try:
        return kind(**options, kafka_client=capture)
    except BaseException:
        for client in inner:
            client.close()
        raise


def _open_admin(settings: KafkaSettings, timing: KafkaTiming) -> KafkaAdminClient:
    options = _connection(settings, timing) | {"request_timeout_ms": timing.answer_ms}
    return _built(KafkaAdminClient, **options)


def _connection(settings: KafkaSettings, timing: KafkaTiming) -> dict[str, Any]:
    """What every client needs to find the cluster and to be let in."""
    options: dict[str, Any] = {
        "bootstrap_servers": [address.strip() for address in settings.bootstrap_servers.split(",")],
        "client_id": settings.client_id,
        "security_protocol": settings.security_protocol,
        "request_timeout_ms": settings.request_timeout_ms,
        "bootstrap_timeout_ms": timing.bootstrap_ms,
        "reconnect_backoff_max_ms": 2_000,
    }
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        if settings.sasl_password is not None:
            options["sasl_plain_password"] = settings.sasl_password.get_secret_value()
    if settings.security_protocol.endswith("SSL"):
        options["ssl_check_hostname"] = settings.ssl_check_hostname
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            if (path := getattr(settings, name)) is not None:
                options[name] = str(path)
    return options
