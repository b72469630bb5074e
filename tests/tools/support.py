"""What several tests of the probe need: the request of a delivery report."""


def get(query: str) -> bytes:
    """The request with which a report comes."""
    return f"GET /reports?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
