"""Whether a text names a subject: what a fact is checked by is what the index will find."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from edits.names.articles import spoken_forms
from edits.names.attached import all_keys
from edits.names.everyday import why_no_name
from edits.names.near import MIN_COVERAGE, NearNames
from edits.names.segmentation import read_text, recent, words_of
from edits.names.surface import find_keys
from edits.text import printable

MAX_SHOWN = 60  # characters of a name in a message


@dataclass(frozen=True, slots=True)
class NamingFault:
    """Why an edit with these names and this prompt would fire on any text, or on none."""

    code: Literal["names_nothing", "prompt_without_subject"]
    reason: str


NO_SUBJECT = NamingFault("prompt_without_subject", "prompt does not name its subject")


def naming_fault(prompt: str, names: Iterable[str]) -> NamingFault | None:
    """What is wrong with the names of a fact that is to be asserted: the subject and its aliases; None: nothing.

    An event, a request in a program and a mended dead letter are all asked this.
    """
    names = tuple(names)
    for name in names:
        if (reason := why_no_name(name, prompt)) is not None:
            shown = printable(name, MAX_SHOWN)
            return NamingFault(
                "names_nothing", f"the name {shown!r} {reason}: it would be found where nobody means it"
            )
    return None if names_subject(prompt, names) else NO_SUBJECT


def names_exactly(text: str, forms: Iterable[str]) -> bool:
    """Whether one of the names stands in the text, in any case and with what the script attaches to it."""
    keys = all_keys(words_of(form) for form in spoken_forms(forms))
    lengths: dict[str, set[int]] = {}
    for key in keys:
        lengths.setdefault(key[0], set()).add(len(key))
    joined = {" ".join(key) for key in keys}
    read = read_text(recent(text))
    return any(find_keys(read, lambda first: lengths.get(first, ()), joined.__contains__))


def names_subject(text: str, forms: Iterable[str]) -> bool:
    """Whether the text names the subject, if only approximately."""
    forms = tuple(forms)
    return names_exactly(text, forms) or any(_names_nearly(text, form) for form in forms)


def _names_nearly(text: str, form: str) -> bool:
    names = NearNames()
    names.add("", form, required=())
    return bool(names.find(text, least=MIN_COVERAGE))
