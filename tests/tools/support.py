"""What several tests of the probe need: a free port, and the request of a delivery report."""

import socket


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def get(query: str) -> bytes:
    """The request with which a report comes."""
    return f"GET /reports?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
