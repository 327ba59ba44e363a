"""A masked question without what asks nothing more.

The head was taught few of these turns, and they are many: a list of them costs nothing, a corpus in which each relation has
each of them costs its other phrasings (docs/experiments.md).
"""

import re

# What a question may say and a fact that is kept current means anyway.
_NOW = re.compile(r"\b(?:current|currently|presently|nowadays|at present|right now)\b ?")
# "The post of mayor of x is held by" asks for the mayor.
_OFFICE = re.compile(
    r"\bthe (?:position|post|office|role) of (?:the )?(.+?) (?:is|was) (?:held|occupied|filled) by$"
)
_NAME_OF = re.compile(r"^the name of (?=the )")
_ARTICLE = re.compile(r"\bthe (?=x\b)")  # of a name: "the Netherlands"


def plain_wording(masked: str) -> str:
    """A masked text in the words of the head's corpus."""
    plain = _NOW.sub("", _ARTICLE.sub("", masked)).strip()
    return _NAME_OF.sub("", _OFFICE.sub(r"the \1 is", plain)) or masked
