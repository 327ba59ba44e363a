"""Whether a text names a subject: what an event's check asks is what the index will find."""

from collections.abc import Iterable, Iterator

from editors.index.names.attached import all_keys
from editors.index.names.near import MIN_COVERAGE, NearNames
from editors.index.names.segmentation import read_text, recent, words_of
from editors.index.names.surface import find_keys

# Written small in front of a capital, they are no part of the name: "the Netherlands", "les Pays-Bas".
_ARTICLES = frozenset(
    ("the", "le", "la", "les", "el", "los", "las", "il", "gli", "der", "die", "das", "het", "o", "os")
)


def spoken_forms(forms: Iterable[str]) -> tuple[str, ...]:
    """The names under which texts speak of a subject: those given, and these without their article."""
    return tuple(dict.fromkeys(spoken for form in forms for spoken in (form, *_without_article(form))))


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


def _without_article(form: str) -> Iterator[str]:
    first, _, rest = form.strip().partition(" ")
    if first in _ARTICLES and rest[:1].isupper():
        yield rest
