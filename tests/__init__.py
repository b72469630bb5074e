"""Tests of esms_async; the modules here mirror those of the package."""
