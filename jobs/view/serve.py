"""`mpo view`: the pages, served on this machine until Ctrl-C."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from jobs.view.app import viewer
from mpo_core.errors import InputError

PORT = 8270


def serve_pages(
    folders: Sequence[Path], host: str, port: int | None, say: Callable[[str], None]
) -> None:
    """Serve the pages of runs until interrupted.

    Args:
        host: address to listen on; beyond loopback whoever reaches it can read the runs.
        port: by default `PORT`, or any that is free where that is taken.

    Raises:
        InputError: the address cannot be listened on.
    """
    with _listening(host, port) as listener:
        at, taken = listener.getsockname()[:2]
        app = viewer(folders, [] if ip_address(at).is_loopback else ["*"])
        say(f"http://{f'[{at}]' if ':' in at else at}:{taken}/")
        say("Ctrl-C stops")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


@contextmanager
def served_here(folders: Sequence[Path]) -> Iterator[str]:
    """The pages of runs, served by a thread of this process on loopback while the block lasts.

    Yields their address.
    """
    app = viewer(folders)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.05)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def _listening(host: str, port: int | None) -> socket.socket:
    if not host:
        raise InputError("--host: empty; give an address of this machine, such as 127.0.0.1")
    for number in (PORT, 0) if port is None else (port,):
        try:
            return socket.create_server(
                (host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET
            )
        except OSError as error:
            fault = error
    raise InputError(
        f"{host}:{number}: cannot listen there: {fault.strerror or fault}; give another --port or "
        "--host"
    )
