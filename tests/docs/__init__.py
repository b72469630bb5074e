"""Tests of the documentation: its code runs, and its pages hold what they must."""
