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
# "Who founded the city of Lyon?"; "the city of x is" may ask for the city. The song and the album of one name are two
# things, so their kind stays.
_KIND = re.compile(r"(?<=\w )(?<!is )(?<!was )(?<!are )the (?:city|town|village) of (?=x\b)")
# Roundabout words for common ones.
_ROUNDABOUT = (
    (re.compile(r"\bmale (?:parent|father)\b"), "father"),
    (re.compile(r"\bfemale (?:parent|mother)\b"), "mother"),
    (re.compile(r"\b(?:work of fiction|fictitious work)\b"), "fictional work"),
    (
        re.compile(
            r"\b(?:live|living|reside)(?: in)? (?:when|while) (?:he|she|they|x) (?:died|passed away)\b"
        ),
        "die",
    ),
)


def plain_wording(masked: str) -> str:
    """A masked text in the words of the head's corpus."""
    plain = _NOW.sub("", _ARTICLE.sub("", _KIND.sub("", masked))).strip()
    for roundabout, common in _ROUNDABOUT:
        plain = roundabout.sub(common, plain)
    return _NAME_OF.sub("", _OFFICE.sub(r"the \1 is", plain)) or masked
