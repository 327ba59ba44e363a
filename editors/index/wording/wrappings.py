"""What is put around a question: an instruction with a colon before it, a blank to fill in, thanks and remarks behind it."""

import re
from bisect import bisect_left
from collections.abc import Sequence

from editors.index.wording.carrying import other_names
from editors.index.wording.sentences import Occurrence
from edits.names.segmentation import ReadText

SHORT_TAIL = 3  # words that lead to an answer: "the answer is"
# With these a sentence asks, though it is no question.
_FACT_REQUESTS = frozenset(("tell", "name", "give", "state", "say", "list", "identify", "find"))
_REQUESTS = _FACT_REQUESTS | {"please", "explain", "i", "i'd", "answer", "complete"}
# It asks nothing by itself: "The capital of Spain? Which?", "The mayor of Lyon. Who is it?"
_BARE_QUESTION = re.compile(
    r"(?:and )?(?:who|what|when|where|which|how much|how many)(?: (?:is|was) (?:it|he|she|that|this))?\s*\?"
)
# Before the colon: it only says that, or how, what follows is to be answered.
_ANSWER_THIS = re.compile(
    r"\W*(?:(?:please|kindly|now|so|ok|okay|hi|hello|hey)\W+)*"
    r"(?:(?:answer|respond|reply|complete|finish|fill)\b(?:,? [\w'-]+){0,10}"
    r"|(?:(?:a|one|my|the|next|last|quick|short|simple|following|this is|here is|here's) ){0,4}question"
    r"|in (?:\w+ ){1,3}(?:word|words|sentence|sentences)|briefly|in short)\W*"
)
_OTHER_TASK = re.compile(r"\b(?:yes|no|true|false|translat\w+|poem|story|song|code|list|wrong\w*)\b")
_BLANK = re.compile(r"(?:(?<!_)_{2,}+|\[(?:blank|mask|answer)\]|<(?:blank|mask)>)")
_BLANK_BEHIND = re.compile(rf"\s?{_BLANK.pattern}\W*$")
_BLANK_BEFORE = re.compile(rf"^\W*?{_BLANK.pattern} (?=(?:is|was|are|were)\b)")
# A line of examples that asks anew.
_LABEL = re.compile(r"\W*(?:q|question|input|prompt|user|human|instruction)\s*\d*\s*:")
_OF_THE_ANSWER = re.compile(
    r"\b(?:answer|answers|reply|response|output|result|explanation|word|words|sentence)\b"
)
# Who begins so asks nothing, with or without a full stop; but a text that ends so goes on.
_REMARKS = frozenset(
    (
        *("i", "i'm", "i'd", "i've", "my", "we", "thanks", "thank", "thx", "cheers", "regards", "best", "sincerely"),
        *("sorry", "just", "only", "no", "be", "keep", "use", "answer", "reply", "respond", "please", "explain"),
    )
)  # fmt: skip
_HANGING = frozenset(
    (
        *("is", "are", "was", "were", "be", "been", "has", "had", "the", "a", "an", "of", "in", "on", "at", "by", "to"),
        *("for", "from", "with", "and", "or", "as", "that", "called", "named"),
    )
)  # fmt: skip


def wrapped(text: ReadText, at: Sequence[Occurrence], part: tuple[int, int]) -> tuple[int, int]:
    """The part of a sentence behind an instruction to answer, where its colon stands before every name."""
    first = next((one.start for one in at if part[0] <= one.start < part[1]), part[1])
    colon = text.plain.rfind(": ", part[0], first)
    before = text.plain[part[0] : colon] if colon >= 0 else ""
    if not _ANSWER_THIS.fullmatch(before) or _OTHER_TASK.search(before):
        return part
    return colon + 1, part[1]


def filled(question: str) -> str:
    """A masked question without the blank that is to be filled in: "the capital of x is ____." goes on there."""
    if len(_BLANK.findall(question)) != 1:
        return question
    return _BLANK_BEFORE.sub("what ", _BLANK_BEHIND.sub("", question)) or question


def asks(text: ReadText, part: tuple[int, int], behind: Sequence[tuple[int, int]], *, written: str) -> bool:
    """Whether a sentence is what a prompt asks, though others stand behind it.

    It is if it is the last one, but for a bare "who?"; or if it asks (a question, a request) and nothing behind it does:
    neither another question or request nor a text that breaks off, as an unanswered example does.

    Args:
        written: the text with its capitals.
    """
    if not behind or (len(behind) == 1 and _BARE_QUESTION.fullmatch(text.plain[slice(*behind[0])].strip())):
        return True
    asking = "?" in text.plain[slice(*part)] or _first_word(text, part) in _REQUESTS
    if not asking or _asks_anew(text, part, behind, written):
        return False
    return not _breaks_off(text.plain[slice(*behind[-1])].strip())


def _asks_anew(
    text: ReadText, part: tuple[int, int], behind: Sequence[tuple[int, int]], written: str
) -> bool:
    """Whether sentences ask something else: a question, a further example, a request that has another name."""
    plain = {one: text.plain[slice(*one)] for one in behind}
    if any("?" in sentence or _LABEL.match(sentence) for sentence in plain.values()):
        return True
    requests = [one for one, sentence in plain.items() if _is_request(sentence)]
    if not requests:
        return False
    spans = zip(text.words, text.spans, strict=True)
    known = frozenset(word for word, (at, _) in spans if part[0] <= at < part[1])
    starts = [name.start for name in other_names(written, known)]
    return any(bisect_left(starts, begin) < bisect_left(starts, end) for begin, end in requests)


def _is_request(sentence: str) -> bool:
    """Whether it asks for a fact, and not for another form of the answer."""
    first = sentence.split(maxsplit=3)[:3]
    return not _FACT_REQUESTS.isdisjoint(first) and not _OF_THE_ANSWER.search(sentence)


def _breaks_off(tail: str) -> bool:
    words = tail.split()
    if tail.rstrip("\"')]")[-1:] in (".", "!", ":") or len(words) <= SHORT_TAIL:
        return False
    return words[0].strip(",;") not in _REMARKS or words[-1] in _HANGING


def _first_word(text: ReadText, part: tuple[int, int]) -> str:
    return next((w for w, (a, _) in zip(text.words, text.spans, strict=True) if part[0] <= a < part[1]), "")
