"""Named sets of probes: prompts whose answers the edits must leave as the base gives them."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from editors.errors import PermanentError

MAX_FILE_BYTES = 64 << 20
MAX_PROBES = 200_000
MAX_PROMPT_CHARS = 8_192
MAX_NAME_CHARS = 100
KINDS = ("far", "relation", "subject")


class BadSuite(PermanentError):
    """A probe file cannot be read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One prompt; `answer` is what an edited model should say, where that is known beforehand."""

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

    def sample(self, size: int, *, seed: int) -> "ProbeSuite":
        """At most `size` probes, the same for the same seed.

        A probe is kept for its own content, not for its place: a suite that grows keeps most of its sample.
        """
        if len(self.probes) <= size:
            return self
        chosen = sorted(self.probes, key=lambda probe: _lot(probe.prompt, seed))[:size]
        return ProbeSuite(self.name, tuple(chosen))


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
    lines = _read(path).splitlines()
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise BadSuite(f"the probe file {path} holds no probes")
    if len(numbered) > MAX_PROBES:
        raise BadSuite(f"the probe file {path} holds more than {MAX_PROBES} probes")
    return ProbeSuite(name, distinct(_probe(line, f"{path}, line {number}") for number, line in numbered))


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadSuite(f"the probe file {path} is larger than {MAX_FILE_BYTES >> 20} MiB")
        return path.read_text(encoding="utf-8")
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
    return Probe(prompt, kind, answer)


def _lot(prompt: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{prompt}".encode("utf-8", "surrogatepass")).digest()
