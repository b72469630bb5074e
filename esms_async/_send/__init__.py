"""Sending: the outcome table, one send from claim to report, retries, and streams of messages."""
