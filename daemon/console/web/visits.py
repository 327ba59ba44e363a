"""What a page's handler gets and gives: a visit in, a page or a redirect out; HTTP stays outside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from daemon.console.access.rules import Visitor
from edits.errors import BadRequest
from edits.ids import EditId

MAX_FIELDS = 64
MAX_FORM_BYTES = 4 << 20  # an event may be a megabyte, and a form escapes what is not ASCII threefold
MAX_QUERY_CHARS = 300
MAX_NUMBER = 2**63 - 1


class BadForm(BadRequest):
    """A field of a form or of an address is missing or cannot be; the message says which."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who may make it.

    Attributes:
        path: what stood in the place of the path's parameters.
        query: the last value of each field of the address.
        form: the same of the body.
    """

    visitor: Visitor
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """A number in the path, such as an edit's.

        Raises:
            BadForm: it is none.
        """
        return _whole(name, self.path[name])

    def edit_id(self, name: str) -> EditId:
        """An edit's id in the path.

        Raises:
            BadForm: it is none.
        """
        return str(self.number(name))

    def asked_number(self, name: str) -> int | None:
        """A number in the address's query; None: it is not there.

        Raises:
            BadForm: it is none.
        """
        text = self.query.get(name, "").strip()
        return _whole(name, text) if text else None

    def asked(self, name: str, *, max_chars: int = MAX_QUERY_CHARS) -> str:
        """A text in the address's query; empty: it is not there."""
        # No kept text has a NUL, and PostgreSQL refuses to look for one.
        return self.query.get(name, "").replace("\0", "").strip()[:max_chars]

    def filled(self, name: str, *, max_chars: int) -> str:
        """A field of the form that must be filled in.

        Raises:
            BadForm: it is empty or too long.
        """
        text = self.form.get(name, "").strip()
        if not text:
            raise BadForm(f"{name}: please fill it in")
        if len(text) > max_chars:
            raise BadForm(f"{name}: at most {max_chars} characters, not {len(text)}")
        return text


@dataclass(frozen=True, slots=True)
class Page:
    """A template, and the values that it shows."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """Go on to another page, with GET."""

    to: str


Reply = Page | Redirect
Handler = Callable[[Visit], Reply]


@dataclass(frozen=True, slots=True)
class PageRoute:
    """A handler, where it stands, and whether it changes something: then it takes a POST of somebody who may operate."""

    path: str
    handler: Handler
    acts: bool = False
    title: str = ""


def read_fields(text: str) -> dict[str, str]:
    """The fields of a query or a form; of several with one name the last.

    Raises:
        BadForm: there are too many.
    """
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise BadForm("too many fields") from error


def address(path: str, **fields: object) -> str:
    """A path of the console with a query of the fields that are not empty."""
    query = urlencode({name: str(value) for name, value in fields.items() if value not in (None, "")})
    return f"{ROOT}{path}?{query}" if query else f"{ROOT}{path}"


ROOT = "/console"  # where every role mounts it


def _whole(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > MAX_NUMBER:
        raise BadForm(f"{name}: a whole number, please")
    return int(text)
