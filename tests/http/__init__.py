"""Tests of the HTTP layer, on real sockets."""
