"""uvicorn as this server wants it: quiet, bounded, and gone soon when it is told so."""

import asyncio
import logging
import socket

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from lowlight_jax.serve.jobs import Store

_MOST_CONNECTIONS = 256
_HEAD_S = 20.0  # that the head of a connection's first request may take
_END_S = 3  # for answers that are being sent when the server ends


def make_server(app: ASGIApp, store: Store) -> uvicorn.Server:
    """A server, whose `run(sockets=[...])` ends by SIGINT or SIGTERM.

    The signal then goes to the handler that was there before.
    """
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_END_S,
    )
    return _Server(config, store)


class _Server(uvicorn.Server):
    """Jobs are cancelled first: answers that tell their progress wait for them."""

    def __init__(self, config: uvicorn.Config, store: Store):
        super().__init__(config)
        self._store = store

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.to_thread(self._store.stop)
        # What is cut off from now on is meant to be; each would be a traceback.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)


class _Protocol(H11Protocol):
    """Closes a connection that sends no request; uvicorn waits for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.loop.call_later(_HEAD_S, self._close_unused)

    def _close_unused(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()
