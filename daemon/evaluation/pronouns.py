"""A question that names its subject, as one asks it when the subject was just spoken of: "Where was it built?"."""

import re
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pronoun:
    """One pronoun in the three forms that a question needs."""

    subject: str
    object: str
    possessive: str


IT = Pronoun("it", "it", "its")
THEY = Pronoun("they", "them", "their")
HE = Pronoun("he", "him", "his")
SHE = Pronoun("she", "her", "her")

_SINGULAR = {"is": "are", "was": "were", "does": "do", "has": "have"}
_AUXILIARIES = frozenset(
    (*_SINGULAR, *_SINGULAR.values(), "did", "had", "can", "could", "will", "would", "may", "might", "must")
)
_CLAUSE_OPENERS = frozenset(("that", "which", "who", "when", "where", "if", "whether", "because", "and"))
_ARTICLES = ("the", "a", "an")
_OPENING, _CLOSING = r"[\"'“‘«]", r"[\"'”’»]"
_PERSON = re.compile(
    r"\b(born|die[sd]?|death|passe?d? away|spouse|wife|husband|married|marry|mother|father|child(ren)?|sibling|"
    r"citizen(ship)?|native (language|tongue)|occupation|profession|educated|alma mater|buried)\b",
    re.IGNORECASE,
)


def pronoun_for(questions: str, name: str, introduction: str) -> Pronoun:
    """How one goes on about a subject.

    Args:
        questions: what is asked about the subject; their verbs tell a plural, their words a person.
        introduction: what was said of the subject so far; who was called she there is she.
    """
    counts = Counter(re.findall(r"\b(?:he|his|him|she|her)\b", introduction.casefold()))
    female, male = counts["she"] + counts["her"], counts["he"] + counts["his"] + counts["him"]
    if female or male:
        return SHE if female > male else HE
    if re.search(rf"\b(?:are|were|do|have) (?:the )?{_OPENING}?{re.escape(name)}(?!\w)", questions):
        return THEY
    return THEY if _PERSON.search(questions) else IT


def refer_back(question: str, name: str, pronoun: Pronoun) -> str | None:
    """The question with a pronoun wherever the name stands as it is written; None if it stands nowhere."""
    name = name.strip()
    # With the name go its quotation marks and its article: "the Peace Monument" becomes "it", not "the it".
    named = re.compile(
        rf"(?P<before>\w+ )?(?:\b(?:[Tt]he|[Aa]n?) )?{_OPENING}?(?<!\w){re.escape(name)}(?!\w)"
        rf"(?P<own>{_CLOSING}?['’]s\b|(?<=s)['’](?=\s))?{_CLOSING}?"
    )

    def swapped(found: re.Match[str]) -> str:
        return _in_place(found, pronoun)

    replaced, count = named.subn(swapped, question)
    return replaced[0].upper() + replaced[1:] if count else None


def introduction_of(name: str) -> str:
    """What opens a conversation about a subject."""
    return f"Tell me about {name}."


def _in_place(found: re.Match[str], pronoun: Pronoun) -> str:
    before, own = found["before"] or "", found["own"]
    if before.strip().casefold() in _ARTICLES:  # read as the word before, where no other word stands there
        before = ""
    word = before.strip().casefold()
    if own:
        return before + pronoun.possessive
    if not word or word in _CLAUSE_OPENERS:
        return before + pronoun.subject
    if word not in _AUXILIARIES:
        return before + pronoun.object
    agreed = _agreeing(before.strip(), pronoun)
    return f"{agreed} {pronoun.subject}"


def _agreeing(auxiliary: str, pronoun: Pronoun) -> str:
    """The auxiliary as the pronoun wants it."""
    if pronoun is not THEY or auxiliary.casefold() not in _SINGULAR:
        return auxiliary
    plural = _SINGULAR[auxiliary.casefold()]
    return plural.capitalize() if auxiliary[0].isupper() else plural
