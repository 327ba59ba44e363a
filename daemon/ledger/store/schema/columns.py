"""The types of the ledger's columns, alike on both databases: moments, edits' ids, words, and how long texts may be.

Times are whole microseconds since 1970 in UTC, so that both databases compare them alike.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, String
from sqlalchemy.types import TypeDecorator, TypeEngine

from edits.ids import EditId

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

REASON_CHARS = 1000
CAUSE_CHARS = 300
WORKER_CHARS = 200
WORD_CHARS = 64


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware time."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


class Moment(TypeDecorator[datetime]):
    """An aware time, stored as whole microseconds since 1970 (UTC)."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """A naive time is a bug of the caller and raises TypeError."""
        return None if value is None else to_micros(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """The same moment, in UTC."""
        return None if value is None else _EPOCH + timedelta(microseconds=int(value))


NO_EDIT = 0  # edits are numbered from 1
MAX_ID_DIGITS = 19  # of the largest number that a database keeps


class EditKey(TypeDecorator[EditId]):
    """An edit's id; the database numbers the edits, and nobody else sees that number."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[int]:
        """As `Id`."""
        return dialect.type_descriptor(Id.dialect_impl(dialect))

    def process_bind_param(self, value: EditId | None, dialect: Dialect) -> int | None:
        """A text that is no number of an edit is no edit's id here, and matches none."""
        if value is None:
            return None
        return int(value) if value.isascii() and value.isdecimal() and len(value) < MAX_ID_DIGITS else NO_EDIT

    def process_result_value(self, value: Any | None, dialect: Dialect) -> EditId | None:
        """The number, in decimal."""
        return None if value is None else str(value)


Id = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows by itself only in an INTEGER

# Words are compared byte by byte, so that those with one beginning stand together in the index.
Word = String(WORD_CHARS).with_variant(String(WORD_CHARS, collation="C"), "postgresql")
