"""Full stops that end an abbreviation and no sentence: "When was Acme Inc. founded?", "Who is the U.S. president?"."""

import re

_BEFORE = re.compile(r"(?:^|[^\w.])((?:\w\.)*\w|[a-z]+)$")
_BEHIND = re.compile(r"[^\S\n]+([\w']+)")  # on the same line
# Where it is looked for: no abbreviation is longer.
_LONGEST = 16
_ABBREVIATIONS = frozenset(
    (
        *("mr", "mrs", "ms", "dr", "prof", "st", "mt", "ft", "gen", "col", "sgt", "capt", "lt"),
        *("sen", "rep", "rev", "hon", "gov", "jr", "sr", "inc", "ltd", "co", "corp", "bros", "llc"),
        *("plc", "vs", "approx", "est", "dept", "univ"),
    )
)
# Words that begin a sentence oftener than they follow an abbreviation.
_OPENING = frozenset(
    (
        *("who", "whom", "whose", "what", "when", "where", "which", "why", "how", "is", "are"),
        *("was", "were", "do", "does", "did", "has", "have", "had", "can", "could", "will"),
        *("would", "should", "i", "i'd", "you", "we", "it", "its", "he", "his", "she", "her"),
        *("they", "their", "this", "that", "these", "those", "there", "the", "a", "an", "in"),
        *("tell", "name", "give", "state", "say", "list", "please", "explain", "identify", "find"),
        *("answer", "complete", "now", "then", "but", "so", "if"),
    )
)


def ends_abbreviation(plain: str, stop: int, *, before_name: bool) -> bool:
    """Whether the full stop at `stop` of a folded text belongs to an abbreviation, and the sentence goes on behind it.

    Initials and letters with full stops between them are abbreviations, too. What opens a sentence as a rule opens one here;
    so does the name that is asked about (`before_name`) behind letters such as "Ph.D.", which seldom stand in front of one.
    """
    before = _BEFORE.search(plain, max(0, stop - _LONGEST), stop)
    if before is None or not (before[1] in _ABBREVIATIONS or _is_initials(before[1])):
        return False
    if before_name and "." in before[1]:
        return False
    return goes_on(plain, stop + 1)


def goes_on(plain: str, place: int) -> bool:
    """Whether what follows `place` in a folded text goes on with the sentence, rather than opening one."""
    behind = _BEHIND.match(plain, place)
    return behind is not None and behind[1] not in _OPENING


def _is_initials(word: str) -> bool:
    return all(len(letter) == 1 and letter.isalpha() for letter in word.split("."))
