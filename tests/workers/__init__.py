"""Tests of the distributed side."""
