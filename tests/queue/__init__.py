"""Tests of the queue and its workers, on a real server."""
