"""What stands between the console and other sites: headers on every answer, and a look at where each request comes from."""

from typing import TypeVar
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

# Nothing inline, nothing from elsewhere, in nobody's frame.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_OWN_SITE = ("same-origin", "none")
_Response = TypeVar("_Response", bound=Response)


def security_headers(response: _Response, *, cache: str = "no-store") -> _Response:
    """The response, with what browsers are told about it."""
    response.headers.update(HEADERS)
    response.headers["Cache-Control"] = cache
    return response


def refuse_foreign(request: Request) -> None:
    """Another site may link here; it may neither read a page nor send a form.

    Raises:
        HTTPException: 403, the request comes from another site's page.
    """
    site = request.headers.get("sec-fetch-site")
    if request.method in ("GET", "HEAD"):
        if site in (None, *_OWN_SITE) or request.headers.get("sec-fetch-mode") == "navigate":
            return
    elif site in _OWN_SITE or (site is None and _is_own_origin(request)):
        return
    raise HTTPException(403, "This request comes from another site.")


def is_https(request: Request) -> bool:
    """The browser speaks TLS to us, or to the proxy in front of us."""
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"


def _is_own_origin(request: Request) -> bool:
    """Of a browser too old to say `Sec-Fetch-Site`, and of programs, which send no Origin at all."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
