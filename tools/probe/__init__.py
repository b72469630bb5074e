"""Observes with a real account, once, how the gateway does what its documents leave open.

`findings` holds the questions and the findings, `session` makes the requests within the number
that was agreed on, `listener` takes the delivery reports, and `probe` goes through the steps.
"""
