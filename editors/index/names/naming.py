"""Whether a text names a subject: what an event's check asks is what the index will find."""

from collections.abc import Iterable

from editors.index.names.articles import spoken_forms
from editors.index.names.attached import all_keys
from editors.index.names.near import MIN_COVERAGE, NearNames
from editors.index.names.segmentation import read_text, recent, words_of
from editors.index.names.surface import find_keys


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
