"""The gateway's result codes: what each one means, and what to do about it."""

from esms_async._model.codes import CODES, Code, RouteKind, Scope, lookup

__all__ = ["CODES", "Code", "RouteKind", "Scope", "lookup"]
