"""Finds out from a real account, once, what no document says of the gateway.

`findings` holds the questions and what is found, `session` makes the requests within the number
that was agreed on, `listener` takes the delivery reports, and `probe` does one thing after another.
"""
