"""Tests of the recipes for other task queues, with the real libraries."""
