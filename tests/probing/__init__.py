"""Tests of what finds out about the gateway."""
