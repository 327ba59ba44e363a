"""Named sets of probes: prompts whose answers the edits must leave as the base gives them."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edits.errors import PermanentError

MAX_FILE_BYTES = 64 << 20
MAX_PROBES = 200_000
MAX_PROMPT_CHARS = 8_192
MAX_NAME_CHARS = 100
SHIPPED_TEXT = Path(__file__).parent / "data" / "unrelated.txt"
KINDS = ("far", "relation", "subject", "text")


class BadSuite(PermanentError):
    """A probe file cannot be read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One prompt; `answer` is what an edited model should say, where that is known beforehand.

    `kind` says what it has to do with the edits: unrelated (`far`), an edited relation of another subject
    (`relation`), another relation of an edited subject (`subject`), or running text that asks nothing (`text`).
    """

    prompt: str
    kind: str = "far"
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class ProbeSuite:
    """Probes under a name, which becomes the label `suite` of the metrics."""

    name: str
    probes: tuple[Probe, ...]

    @property
    def digest(self) -> str:
        """Changes whenever a probe does: base answers are stored under it."""
        content = [[probe.prompt, probe.kind, probe.answer] for probe in self.probes]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def in_sample_order(self, *, seed: int) -> tuple[Probe, ...]:
        """All probes by hash sampling, the same for the same seed: the first n are a sample of n.

        A probe is hashed by its own content, not by its place: a suite that grows keeps most of a sample.
        """
        return tuple(sorted(self.probes, key=lambda probe: sampling_hash(probe.prompt, seed)))


def distinct(probes: Iterable[Probe]) -> tuple[Probe, ...]:
    """Each prompt once, the first one wins."""
    return tuple({probe.prompt: probe for probe in reversed(tuple(probes))}.values())[::-1]


def load_suite(name: str, path: Path) -> ProbeSuite:
    """Read `{"prompt": ..., "kind"?: ..., "answer"?: ...}` lines; blank lines are skipped.

    Raises:
        BadSuite: the name is too long; the file is missing, too large or empty; a line is no probe.
    """
    if len(name) > MAX_NAME_CHARS:
        raise BadSuite(f"the suite name {name[:20]!r}... is longer than {MAX_NAME_CHARS} characters")
    lines = read_probe_file(path).splitlines()
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise BadSuite(f"the probe file {path} holds no probes")
    if len(numbered) > MAX_PROBES:
        raise BadSuite(f"the probe file {path} holds more than {MAX_PROBES} probes")
    return ProbeSuite(name, distinct(_probe(line, f"{path}, line {number}") for number, line in numbered))


def load_texts(name: str, path: Path) -> ProbeSuite:
    """Read running text, one passage between blank lines, as probes of the kind `text`.

    Raises:
        BadSuite: the file is missing, too large or empty, or a passage is too long.
    """
    passages = [" ".join(part.split()) for part in read_probe_file(path).split("\n\n") if part.strip()]
    if not passages:
        raise BadSuite(f"the text file {path} holds no text")
    if len(passages) > MAX_PROBES:
        raise BadSuite(f"the text file {path} holds more than {MAX_PROBES} passages")
    for number, passage in enumerate(passages, start=1):
        if len(passage) > MAX_PROMPT_CHARS:
            raise BadSuite(f"{path}: passage {number} is longer than {MAX_PROMPT_CHARS} characters")
    return ProbeSuite(name, distinct(Probe(passage, "text") for passage in passages))


def read_probe_file(path: Path) -> str:
    """The file's text.

    Raises:
        BadSuite: it is missing, no UTF-8, or too large.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadSuite(f"the probe file {path} is larger than {MAX_FILE_BYTES >> 20} MiB")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSuite(f"the probe file {path} cannot be read: {error}") from error


def _probe(line: str, where: str) -> Probe:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadSuite(f"{where}: no valid JSON") from error
    if not isinstance(fields, dict):
        raise BadSuite(f"{where}: a probe is an object with a prompt")
    prompt, kind, answer = fields.get("prompt"), fields.get("kind", "far"), fields.get("answer")
    if not isinstance(prompt, str) or not 0 < len(prompt.strip()) <= MAX_PROMPT_CHARS:
        raise BadSuite(f"{where}: the prompt must be a text of 1 to {MAX_PROMPT_CHARS} characters")
    if kind not in KINDS:
        raise BadSuite(f"{where}: the kind must be one of {', '.join(KINDS)}")
    if answer is not None and not isinstance(answer, str):
        raise BadSuite(f"{where}: the answer must be a text")
    try:
        (prompt + (answer or "")).encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadSuite(f"{where}: half a surrogate pair is no text") from error
    return Probe(prompt, kind, answer)


def sampling_hash(text: str, seed: int) -> bytes:
    """Texts sorted by it stand in a random order, the same for the same seed."""
    return hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "surrogatepass")).digest()
