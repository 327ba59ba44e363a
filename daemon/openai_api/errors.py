"""OpenAI's error body, and which of our errors becomes which of OpenAI's types and status codes.

    {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}

A request is never repeated in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel
from starlette.responses import JSONResponse

from edits.errors import BadRequest, PermanentError, TemporaryError

MAX_MESSAGE_CHARS = 1_000
MAX_PARAM_CHARS = 100
ADAPTER_UNAVAILABLE = "adapter_unavailable"  # the code where an edit fires, but its adapter cannot be loaded

ErrorType = Literal[
    "invalid_request_error", "authentication_error", "rate_limit_error", "server_error", "service_unavailable"
]
# OpenAI's words for the statuses that it uses; what is not here is the server's fault.
_TYPES: Mapping[int, ErrorType] = {
    **dict.fromkeys((400, 404, 405, 409, 413, 415, 422), "invalid_request_error"),
    401: "authentication_error",
    429: "rate_limit_error",
    503: "service_unavailable",
}


class ErrorDetail(BaseModel):
    """What went wrong: `param` names the field, `code` is for programs."""

    message: str
    type: ErrorType
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every reply that is not a success."""

    error: ErrorDetail


@dataclass(frozen=True, slots=True)
class ApiError:
    """One error as a client sees it."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The reply's JSON, which is also the data of an event where a stream breaks."""
        detail = ErrorDetail(
            message=self.message[:MAX_MESSAGE_CHARS],
            type=_TYPES.get(self.status, "server_error"),
            param=None if self.param is None else self.param[:MAX_PARAM_CHARS],
            code=self.code,
        )
        return ErrorBody(error=detail).model_dump()

    def response(self) -> JSONResponse:
        """The reply itself."""
        return JSONResponse(self.body(), self.status, headers=dict(self.headers))


class RequestRefused(BadRequest):
    """A request that is well-formed but asks for what is not served; the message says what is."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None):
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


def model_not_found(name: str, *, served: Sequence[str]) -> RequestRefused:
    """404 for a model that nobody serves here."""
    return RequestRefused(
        f"the model {name[:MAX_PARAM_CHARS]!r} does not exist here; ask for {' or '.join(served)}",
        status=404,
        param="model",
        code="model_not_found",
    )


def api_error(error: Exception, *, bad_request_status: int = 400) -> ApiError:
    """One of Upkeep's errors as a client sees it; anything else is a fault of the server, of which it is told nothing."""
    if isinstance(error, RequestRefused):
        return ApiError(error.status, str(error), error.param, error.code)
    if isinstance(error, BadRequest):
        return ApiError(bad_request_status, str(error))
    if isinstance(error, TemporaryError):
        return ApiError(503, str(error), headers=retry_after(error.retry_after_seconds))
    if isinstance(error, PermanentError):
        return ApiError(500, str(error))
    return ApiError(500, "the server failed at this request; its log says why")


def retry_after(seconds: float) -> dict[str, str]:
    """The header that says when to try again: whole seconds, at least one."""
    return {"Retry-After": str(max(1, round(seconds)))}


def invalid_request(details: Sequence[Mapping[str, Any]], *, status: int = 400) -> ApiError:
    """What pydantic says of a body, as one error: the first fault is its `param`, all faults are in the message.

    Args:
        details: `ValidationError.errors()`, whose places may begin with "body".
    """
    faults: dict[str, str] = {}
    # Of a field that may be of several kinds, each kind complains: the one that it is of says more than the others.
    for detail in sorted(details, key=lambda one: str(one["type"]).endswith("_type")):
        place = [str(part) for part in detail["loc"] if part != "body"]
        faults.setdefault(place[0] if place else "", _fault(place, detail))
    unknown = next(iter(faults.values()), "").endswith(_NOT_SUPPORTED)
    return ApiError(
        status,
        "; ".join(list(faults.values())[:5]),
        param=next(iter(faults), None) or None,
        code="unsupported_parameter" if unknown else None,
    )


_NOT_SUPPORTED = " is not supported"


def _fault(place: Sequence[str], detail: Mapping[str, Any]) -> str:
    path = ".".join(place)[:MAX_PARAM_CHARS]
    if detail["type"] == "extra_forbidden":
        return path + _NOT_SUPPORTED
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{path}: {message}" if path else message
