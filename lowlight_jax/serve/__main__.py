"""The command that serves a page and an API on this machine.

    python -m lowlight_jax.serve [--port 8000]

Nothing is written outside one temporary folder, which goes when the server ends.
Exit codes: 0 ended by Ctrl-C or SIGTERM, 1 it cannot serve, 2 wrong usage.
"""

import argparse
import contextlib
import math
import os
import signal
import socket
import sys
import tempfile
import threading
import warnings
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lowlight_jax.runtime.command import add_debug_flag, run_command

if TYPE_CHECKING:
    from lowlight_jax.serve.jobs import Store

PROG = "python -m lowlight_jax.serve"

_EPILOG = """\
examples:
  %(prog)s
  %(prog)s --port 9000 --no-browser --max-megapixels 50
  %(prog)s --host 0.0.0.0 --allow-host photos.example.org

Open the address that is printed in a browser; docs/serve.md describes the API. There
are no accounts: whoever reaches the port may use it.
"""


def parse_args(
    argv: Sequence[str] | None = None, prog: str = PROG
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Serves a page to brighten photographs in a browser, and an API.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, this machine alone)",
    )
    parser.add_argument(
        "--port",
        type=_whole(0, 65535),
        default=8000,
        help="0: any that is free (default: %(default)s)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name by which browsers reach it, as behind a proxy; may be "
        "repeated",
    )
    parser.add_argument(
        "--max-mb",
        type=_whole(1, 10**6),
        default=100,
        metavar="MB",
        help="of a file (default: %(default)s)",
    )
    parser.add_argument(
        "--max-megapixels",
        type=_whole(1, 250),
        default=100,
        metavar="MP",
        help="of a picture, looked up before it is decoded (default: %(default)s)",
    )
    parser.add_argument(
        "--queue",
        type=_whole(1, 10**4),
        default=8,
        metavar="N",
        help="photographs that may wait or be computed; more are told to come again "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--keep-mb",
        type=_whole(100, 10**7),
        default=4000,
        metavar="MB",
        help="of results on the disk; the oldest go, and all go after half an hour "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="do not open the page"
    )
    add_debug_flag(parser)
    return parser.parse_args(argv)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or value != int(value):
            raise argparse.ArgumentTypeError(
                f"'{text}' is not a whole number from {low} to {high}"
            )
        return int(value)

    return parse


def run(args: argparse.Namespace) -> int:
    """Serves until it is told to end; returns the exit code."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"the server needs {error.name}; install it with: pip install "
            "'lowlight_jax[web]'"
        ) from error
    from lowlight_jax.runtime.cache import use_compilation_cache

    listening = _listen(args.host, args.port)
    use_compilation_cache()
    # Being told to end is like Ctrl-C, which uvicorn hands on when all has ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        contextlib.closing(listening),
        tempfile.TemporaryDirectory(
            prefix="lowlight_serve-", ignore_cleanup_errors=True
        ) as folder,
    ):
        store = serve(args, listening, Path(folder))
        has_ended = store.stop()
    print("Stopped; uploads and results are deleted", flush=True)
    if not has_ended:  # it compiles, and Python would wait for it
        os._exit(0)
    return 0


def serve(args: argparse.Namespace, listening: socket.socket, folder: Path) -> "Store":
    """Serves on a socket until a signal; returns what was kept."""
    from lowlight_jax.serve.app import make_app
    from lowlight_jax.serve.guard import LOCAL_NAMES
    from lowlight_jax.serve.jobs import Store
    from lowlight_jax.serve.server import make_server
    from lowlight_jax.serve.uploads import Limits

    store = Store(folder, queue=args.queue, keep_bytes=args.keep_mb * 10**6)
    limits = Limits(args.max_mb * 10**6, args.max_megapixels * 10**6)
    names = (*LOCAL_NAMES, args.host, *args.allow_host)
    server = make_server(make_app(store, limits, names), store)
    host, port = listening.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    url = f"http://{'localhost' if host in ('0.0.0.0', '[::]') else host}:{port}/"
    print(f"Serving at {url} (Ctrl-C ends)", flush=True)
    if not args.no_browser:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    return store


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
      ValueError: the port is taken, or the host is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ValueError(
            f"cannot listen on {host} port {port} ({error.strerror or error}); choose "
            "another --port or --host"
        ) from error


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    # Pillow warns of odd tags, OpenCV logs damage: what matters is in our messages.
    warnings.filterwarnings("ignore", module="PIL")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    return run_command(lambda: run(parse_args(argv, prog)), interrupted="Interrupted")


if __name__ == "__main__":
    sys.exit(main())
