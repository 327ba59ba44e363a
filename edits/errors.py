"""The two roots of every error that Upkeep raises, and the editors' own errors.

UpkeepError
+-- TemporaryError          try again after `retry_after_seconds`
|   +-- DeviceBusy          the device is out of memory for now
+-- PermanentError          trying again changes nothing; the message says what to do
    +-- UnknownArchitecture the base's FFN cannot be found by name
    +-- BaseUnreadable      the model directory or hub id cannot be loaded
    +-- EncoderUnreadable   the scope index's sentence encoder cannot be loaded
    +-- ShardCorrupt        a stored shard or manifest is not what it claims to be, or not for this base
    |   +-- ShardDamaged    its files are missing or changed: its edits are set aside, `upkeep repair` trains them again
    +-- BadRequest          an edit request or a setting that no editor can use
"""


class UpkeepError(Exception):
    """Something went wrong that Upkeep knows by name."""


class TemporaryError(UpkeepError):
    """The cause may pass by itself: the caller retries after `retry_after_seconds`."""

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class PermanentError(UpkeepError):
    """Trying again changes nothing; the message says what to do instead."""


class DeviceBusy(TemporaryError):
    """The device has no memory left for this piece of work at this moment."""


class UnknownArchitecture(PermanentError):
    """The base's FFN is not in the table; the message names the setting that says where it is."""


class BaseUnreadable(PermanentError):
    """The base model cannot be loaded from where the settings say it is."""


class EncoderUnreadable(PermanentError):
    """The sentence encoder cannot be loaded from where the settings say it is."""


class ShardCorrupt(PermanentError):
    """A stored shard or manifest does not match its own digest, form or size limits."""


class ShardDamaged(ShardCorrupt):
    """A shard's files are missing, truncated or changed.

    Attributes:
        digest: the shard's name.
    """

    def __init__(self, digest: str, message: str) -> None:
        super().__init__(message)
        self.digest = digest


class BadRequest(PermanentError):
    """An edit request or an editor setting that cannot be used."""


def first_line(error: BaseException) -> str:
    """What an error says first, no longer than a message can carry."""
    return str(error).strip().split("\n", 1)[0][:300]
