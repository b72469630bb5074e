"""Bytes to values and back, pure: sends, queries, and single fields of the gateway's answers."""
