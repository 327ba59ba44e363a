"""What the bare base answers: asked once for each base and prompt, and never mixed with another base's answers."""

import hashlib
from collections.abc import Mapping, Sequence

from sqlalchemy import insert, select

from daemon.ledger.store.database import Database, lock_head
from daemon.ledger.store.rows import chunks
from daemon.ledger.store.schema import base_answers


class BaseAnswers:
    """Answers by what was asked of which base; a prompt that changed is another prompt."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, base_hash: str, prompts: Sequence[str], *, max_new_tokens: int) -> dict[str, str]:
        """The answers that the ledger has, by prompt."""
        asked = {_asked(prompt, max_new_tokens): prompt for prompt in prompts}
        found: dict[str, str] = {}
        with self._database.read() as connection:
            for part in chunks(sorted(asked)):
                query = select(base_answers.c.asked, base_answers.c.answer).where(
                    base_answers.c.base_hash == base_hash, base_answers.c.asked.in_(part)
                )
                found.update((asked[row.asked], row.answer) for row in connection.execute(query))
        return found

    def store(self, base_hash: str, answers: Mapping[str, str], *, max_new_tokens: int) -> None:
        """Keep answers by prompt; what is there already stays."""
        rows = {_asked(prompt, max_new_tokens): answer for prompt, answer in answers.items()}
        with self._database.write() as connection:
            lock_head(connection)
            for part in chunks(sorted(rows)):
                query = select(base_answers.c.asked).where(
                    base_answers.c.base_hash == base_hash, base_answers.c.asked.in_(part)
                )
                there = set(connection.execute(query).scalars())
                new = [
                    {"base_hash": base_hash, "asked": asked, "answer": rows[asked]}
                    for asked in part
                    if asked not in there
                ]
                if new:
                    connection.execute(insert(base_answers), new)


def _asked(prompt: str, max_new_tokens: int) -> str:
    # The prompt last: it may hold any character.
    return hashlib.sha256(f"{max_new_tokens}\0{prompt}".encode("utf-8", "surrogatepass")).hexdigest()
