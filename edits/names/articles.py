"""Names with their article and without it: a text may speak of a subject either way."""

from collections.abc import Iterable, Iterator

# Written small in front of a capital, they are no part of the name: "the Netherlands", "les Pays-Bas".
_ARTICLES = frozenset(
    ("the", "le", "la", "les", "el", "los", "las", "il", "gli", "der", "die", "das", "het", "o", "os")
)


def spoken_forms(forms: Iterable[str]) -> tuple[str, ...]:
    """The names under which texts speak of a subject: those given, and these without their article."""
    return tuple(dict.fromkeys(spoken for form in forms for spoken in (form, *_without_article(form))))


def _without_article(form: str) -> Iterator[str]:
    first, _, rest = form.strip().partition(" ")
    if first in _ARTICLES and rest[:1].isupper():
        yield rest
