"""The console over HTTP: lets visitors in, reads their forms, guards every change, and answers with pages.

A handler sees a `Visit` and returns a `Page` or a `Redirect`; cookies, tokens, headers and errors are dealt with here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from daemon.console.access.guards import is_https, refuse_foreign, security_headers
from daemon.console.access.rules import AccessRules, Visitor
from daemon.console.access.sessions import Session, Sessions
from daemon.console.web.rendering import STATIC_TYPES, Renderer
from daemon.console.web.visits import (
    MAX_FORM_BYTES,
    ROOT,
    BadForm,
    Handler,
    Page,
    PageRoute,
    Redirect,
    Reply,
    Visit,
    address,
    read_fields,
)
from daemon.ledger.errors import ForbiddenMove, NotInLedger
from edits.errors import PermanentError, TemporaryError, UpkeepError

COOKIE = "upkeep_console"
FOR_EVER = "public, max-age=31536000, immutable"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    """What the pages share.

    Attributes:
        now: what stands above every page; asked anew for each.
    """

    access: AccessRules
    sessions: Sessions
    renderer: Renderer
    now: Callable[[], Mapping[str, Any]]


def console_app(pages: Sequence[PageRoute], parts: ConsoleParts) -> Starlette:
    """The application, to be mounted under `/console`."""
    endpoints = _Endpoints(parts)
    routes = [
        Route("/sign-in", endpoints.sign_in_page, methods=["GET"]),
        Route("/sign-in", endpoints.sign_in, methods=["POST"]),
        Route("/sign-out", endpoints.sign_out, methods=["POST"]),
        Route("/static/{digest}/{name}", endpoints.static, methods=["GET"]),
        *(Route(page.path, endpoints.of(page), methods=["POST" if page.acts else "GET"]) for page in pages),
    ]
    errors: Any = {
        HTTPException: endpoints.refused,
        UpkeepError: endpoints.failed,
        ClientDisconnect: endpoints.gone,
        Exception: endpoints.broken,
    }
    return Starlette(routes=routes, exception_handlers=errors)


class _Endpoints:
    def __init__(self, parts: ConsoleParts) -> None:
        self._parts = parts

    def of(self, page: PageRoute) -> Callable[[Request], Any]:
        """The endpoint of one page."""

        async def endpoint(request: Request) -> Response:
            refuse_foreign(request)
            session = self._session(request)
            visitor = self._parts.access.identify(request, session)
            if visitor is None:
                return self._to_sign_in(request)
            form = await self._guarded_form(request, session, visitor) if page.acts else {}
            query = read_fields(request.url.query)
            visit = Visit(visitor, request.path_params, query, form)
            return await self._answer(request, session, visitor, page.handler, visit)

        return endpoint

    async def sign_in_page(self, request: Request) -> Response:
        """Where one says who one is."""
        refuse_foreign(request)
        return await self._sign_in_form(request, "", status=200)

    async def sign_in(self, request: Request) -> Response:
        """Begin a session, if the key is one that opens the console."""
        refuse_foreign(request)
        form = await self._form(request)
        self._check_token(self._session(request), form)
        access, name = self._parts.access, form.get("name", "").strip()
        key = access.key_of(form.get("key", ""))
        if key is None and not access.open:
            _log.warning("console: a key was refused", client=request.client.host if request.client else None)
            return await self._sign_in_form(request, "This key does not open the console.", status=401)
        onward = RedirectResponse(_local(form.get("next", "")), status_code=303)
        return self._with_session(request, onward, self._parts.sessions.begin(name=name, key=key or ""))

    async def sign_out(self, request: Request) -> Response:
        """End the session in this browser."""
        refuse_foreign(request)
        self._check_token(self._session(request), await self._form(request))
        away = RedirectResponse(address("/sign-in"), status_code=303)
        away.delete_cookie(COOKIE, path=ROOT, httponly=True, samesite="strict")
        return security_headers(away)

    async def static(self, request: Request) -> Response:
        """The style sheet, the script and the icon: the same for everybody."""
        name = request.path_params["name"]
        if name not in STATIC_TYPES:
            raise HTTPException(404)
        content = Response(self._parts.renderer.statics[name], media_type=STATIC_TYPES[name])
        return security_headers(content, cache=FOR_EVER)

    async def refused(self, request: Request, error: Exception) -> Response:
        """What HTTP itself has a word for."""
        assert isinstance(error, HTTPException)  # noqa: S101  -- registered for it alone
        message = {404: "There is no such page.", 405: "This address does not take that."}
        return await self._error(request, error.status_code, message.get(error.status_code, error.detail))

    async def failed(self, request: Request, error: Exception) -> Response:
        """What Upkeep knows by name."""
        status = _status_of(error)
        if status == 500:
            _log.error("console: a page failed", reason=str(error))
        return await self._error(request, status, str(error))

    async def broken(self, request: Request, _error: Exception) -> Response:
        """What nobody knows; starlette raises it again, and uvicorn logs it."""
        return await self._error(request, 500, "Something failed in Upkeep itself; its log says what.")

    async def gone(self, _request: Request, _error: Exception) -> Response:
        """Nobody waits for the answer."""
        return Response(status_code=499)

    def _session(self, request: Request) -> Session | None:
        return self._parts.sessions.read(request.cookies.get(COOKIE))

    async def _guarded_form(
        self, request: Request, session: Session | None, visitor: Visitor
    ) -> dict[str, str]:
        if not visitor.may_operate:
            raise HTTPException(403, "This needs the role operate; yours is read.")
        form = await self._form(request)
        self._check_token(session, form)
        return form

    async def _form(self, request: Request) -> dict[str, str]:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                raise HTTPException(413, f"A form may have {MAX_FORM_BYTES} bytes.")
        return read_fields(body.decode("utf-8", "replace"))

    def _check_token(self, session: Session | None, form: Mapping[str, str]) -> None:
        if session is None or not self._parts.sessions.is_form_token(session, form.get("token", "")):
            raise HTTPException(
                403, "This form does not belong to your session: go back, reload the page, and send it again."
            )

    def _to_sign_in(self, request: Request) -> Response:
        wanted = request.url.path if request.method == "GET" else f"{ROOT}/"
        query = f"?{request.url.query}" if request.method == "GET" and request.url.query else ""
        to = address("/sign-in", next=f"{wanted}{query}")
        return security_headers(RedirectResponse(to, status_code=303))

    async def _sign_in_form(self, request: Request, refusal: str, *, status: int) -> Response:
        session = self._session(request) or self._parts.sessions.begin()
        access = self._parts.access
        values = {
            "refusal": refusal,
            "next": _local(request.query_params.get("next", "")),
            "needs_key": not access.open,
            "no_keys": not access.keys,
        }
        page = Page("sign_in.html", values, status)
        return self._with_session(request, self._html(page, None, session, {}), session)

    async def _answer(
        self, request: Request, session: Session | None, visitor: Visitor, handler: Handler, visit: Visit
    ) -> Response:
        try:
            reply: Reply = await run_in_threadpool(handler, visit)
            now = {} if isinstance(reply, Redirect) else await run_in_threadpool(self._parts.now)
        except UpkeepError as error:
            reply, now = _error_page(_status_of(error), str(error)), {}
        fresh = session or self._parts.sessions.begin()
        if isinstance(reply, Redirect):
            response: Response = RedirectResponse(reply.to, status_code=303)
        else:
            response = self._html(reply, visitor, fresh, now)
        return self._with_session(request, response, fresh) if session is None else security_headers(response)

    def _html(
        self, page: Page, visitor: Visitor | None, session: Session | None, now: Mapping[str, Any]
    ) -> Response:
        token = "" if session is None else self._parts.sessions.form_token(session)
        values = {"visitor": visitor, "token": token, "now": now, **page.values}
        return HTMLResponse(self._parts.renderer.render(page.template, values), page.status)

    def _with_session(self, request: Request, response: Response, session: Session) -> Response:
        response.set_cookie(
            COOKIE,
            self._parts.sessions.cookie(session),
            path=ROOT,
            httponly=True,
            samesite="strict",
            secure=is_https(request),
        )
        return security_headers(response)

    async def _error(self, request: Request, status: int, message: str) -> Response:
        session = self._session(request)
        visitor = self._parts.access.identify(request, session)
        return security_headers(self._html(_error_page(status, message), visitor, session, {}))


def _error_page(status: int, message: str) -> Page:
    return Page("error.html", {"status": status, "message": message}, status)


def _status_of(error: Exception) -> int:
    match error:
        case TemporaryError():
            return 503
        case NotInLedger():
            return 404
        case ForbiddenMove():
            return 409
        case BadForm():
            return 422
        case PermanentError():
            return 400
    return 500


def _local(path: str) -> str:
    """Where to go after signing in: a page of the console, whatever a link said."""
    fits = path.startswith(f"{ROOT}/") and "\\" not in path and "//" not in path and path.isprintable()
    return path if fits else f"{ROOT}/"
