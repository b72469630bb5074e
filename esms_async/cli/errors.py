"""What ends a command, or refuses one row of its input, and the exit codes."""

import enum

from esms_async._model.errors import EsmsError


class ExitCode(enum.IntEnum):
    """What a command says to the program that started it."""

    ACCEPTED = 0
    """Every message was accepted."""
    REFUSED = 1
    """Some were not."""
    MISUSED = 2
    """Wrong use, or input that can't be read."""
    ACCOUNT_REJECTED = 3
    """The gateway refused the account, which stopped the job."""
    INTERRUPTED = 130
    """A person, or the system, asked to stop."""


class InputError(EsmsError):
    """A command is used wrongly, or its input can't be read at all."""


class InvalidField(EsmsError):
    """A field of a row does not hold what is needed.

    Attributes:
        field: The name of the field.
        problem: What is wrong with it, without its content.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"
