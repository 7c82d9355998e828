"""Where a page listens, and what its address is."""

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from prefrl.web.guard import EVERYWHERE

PORTS = range(8000, 8100)


class NotNow(ValueError):
    """Why a page cannot begin, which others may change."""


def listening(host: str, port: int | None, last: str) -> socket.socket:
    """A socket at the port that was asked for; else at the last page's, so that browsers find it, or at a free one."""
    if port:
        return bound(host, port)
    for known in (*known_port(last), *(PORTS if port is None else ())):
        try:
            return bound(host, known)
        except NotNow:
            continue
    return bound(host, 0)


def bound(host: str, port: int) -> socket.socket:
    """A listening socket; raises NotNow where there can be none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # without the protocol's number asyncio leaves Nagle's algorithm on, and every reply waits 40 ms
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((host, port))
            made.listen(1024)
        except BaseException:
            made.close()
            raise
    except (OSError, UnicodeError) as error:  # the latter: a name that is none
        words = getattr(error, "strerror", None) or error
        raise NotNow(f"cannot listen at {host}:{port}: {words}") from None
    return made


def known_port(address: str) -> list[int]:
    """The port in an address, if there is one."""
    try:
        port = urlsplit(address).port
    except ValueError:
        port = None
    return [port] if port else []


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach it."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def address_of(host: str, port: int) -> str:
    """What to open in a browser."""
    name = _reachable(host) if host in EVERYWHERE else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _reachable(host: str) -> str:
    """This machine's address towards others; a connected UDP socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
