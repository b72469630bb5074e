"""Tests of the two promises against a gateway that shares no code with the package."""
