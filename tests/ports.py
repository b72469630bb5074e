"""Ports of this machine that no other test gets."""

import socket


def hold_port() -> socket.socket:
    """Bind a free port without listening on it.

    Until the socket is closed, nobody else is given the port, and connections to it are refused,
    unless a server that was told its number listens on it.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held
