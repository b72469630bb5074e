"""Tests of delivery reports."""
