"""Ask: a prompt or a conversation, the base's answer beside the edited one's, and why."""

from daemon.console.sources.asking import Asked, Asker
from daemon.console.web.visits import BadForm, Page, PageRoute, Visit
from daemon.ledger import Ledger
from daemon.ledger.values import Edit
from edits.errors import PermanentError, TemporaryError
from edits.prompts import Conversation, Message, Prompt

MAX_PROMPT_CHARS = 8_192
MAX_TURNS = 64
_SPEAKERS = {"user:": "user", "assistant:": "assistant", "system:": "system"}


class AskPages:
    """Has a question asked by whoever has the model."""

    def __init__(self, ledger: Ledger, asker: Asker | None) -> None:
        self._ledger = ledger
        self._asker = asker

    def routes(self) -> list[PageRoute]:
        """Every page of this part."""
        return [PageRoute("/ask", self.ask)]

    def ask(self, visit: Visit) -> Page:
        """The form, and what came of it."""
        text = visit.query.get("prompt", "").replace("\r\n", "\n").strip("\n")
        form, generation = visit.asked("form") or "plain", visit.asked_number("generation")
        asked, problem = self._asked(text, form, generation) if text.strip() else (None, "")
        values = {
            "text": text[:MAX_PROMPT_CHARS],
            "form": form,
            "generation": generation,
            "earlier": self._asker is not None and self._asker.earlier,
            "has_model": self._asker is not None,
            "asked": asked,
            "edits": {} if asked is None else self._edits(asked),
            "problem": problem,
        }
        return Page("ask.html", values, 422 if problem else 200)

    def _asked(self, text: str, form: str, generation: int | None) -> tuple[Asked | None, str]:
        if self._asker is None:
            return None, "this console has no model to ask"
        try:
            prompt = read_prompt(text, form)
            return self._asker.ask(prompt, generation=generation), ""
        except (TemporaryError, PermanentError) as error:
            return None, str(error)

    def _edits(self, asked: Asked) -> dict[str, Edit]:
        """The edits that the answer speaks of, by id."""
        ids = {asked.edit_id} | {one["edit_id"] for one in (asked.trace or {}).get("candidates", ())}
        known = [one for one in ids if one is not None and one.isdecimal()]
        return {edit.id: edit for edit in self._ledger.audit.edits(known)}


def read_prompt(text: str, form: str) -> Prompt:
    """A plain prompt, one user's message, or a conversation whose turns begin with `user:`, `assistant:` or `system:`.

    Raises:
        BadForm: it is too long, or a conversation that does not end with the user.
    """
    if len(text) > MAX_PROMPT_CHARS:
        raise BadForm(f"at most {MAX_PROMPT_CHARS} characters, not {len(text)}")
    if form == "plain":
        return text
    turns = _turns(text)
    if len(turns) > MAX_TURNS or turns[-1].role != "user" or not turns[-1].content:
        raise BadForm(f"a conversation has at most {MAX_TURNS} turns, the last one the user's")
    return Conversation(tuple(turns))


def _turns(text: str) -> list[Message]:
    """Lines that begin with a speaker begin a turn; text before the first of them is the user's."""
    turns: list[tuple[str, list[str]]] = [("user", [])]
    for line in text.split("\n"):
        head, _, rest = line.partition(":")
        role = _SPEAKERS.get(f"{head.strip().lower()}:")
        if role is not None:
            turns.append((role, [rest.strip()]))
        else:
            turns[-1][1].append(line)
    found = [(role, "\n".join(lines).strip()) for role, lines in turns]
    return [Message(role, content) for role, content in found if content]  # type: ignore[arg-type]
