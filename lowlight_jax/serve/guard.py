"""What every request passes: names and origins are checked, headers are added.

A page of another site can send requests to a server on this machine, and a name that
it controls can lead here (DNS rebinding). So the Host must be a name of ours, and the
Origin, where a browser sends one, the page's own.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """Middleware: 400 for a foreign Host or Origin; safe headers on every answer.

    Args:
      app: what is guarded.
      names: by which this server may be called, without ports.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]):
        self.app = app
        self._names = {name.lower().strip("[]") for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if scope["path"].startswith("/api/"):
                    headers["Cache-Control"] = "no-store"
                else:
                    headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        headers = Headers(scope=scope)
        if fault := self._fault(headers.getlist("host"), headers.getlist("origin")):
            response = JSONResponse({"error": fault}, 400)
            await response(scope, receive, send_guarded)
            return
        await self.app(scope, receive, send_guarded)

    def _fault(self, hosts: list[str], origins: list[str]) -> str | None:
        if (
            len(hosts) != 1
            or "@" in hosts[0]
            or _name(f"//{hosts[0]}") not in self._names
        ):
            return (
                "This server is not known by the name in the Host header; start it "
                "with --allow-host NAME to serve under another name."
            )
        for origin in origins:
            # Another port of this machine is another site. Behind a proxy the names
            # differ, and the Host is whatever it was told to pass.
            known = self._names - set(LOCAL_NAMES)
            if urlsplit(origin).netloc.lower() != hosts[0].lower() and (
                _name(origin) not in known
            ):
                return "Requests from pages of other sites are refused; open this one."
        return None


def _name(url: str) -> str | None:
    """The host of a URL without its port, in lower case."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
