"""What ends a command, and the exit codes."""

import enum

from esms_async import EsmsError
from esms_async.cli.words import Text


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
    UNREACHABLE = 4
    """The gateway could not be reached, or a queue's server, which stopped the job."""
    INTERRUPTED = 130
    """A person, or the system, asked to stop."""


class InputError(EsmsError):
    """A command is used wrongly, or its input can't be read at all.

    Attributes:
        words: What is wrong, in every language of the command; None if it is English alone.
    """

    def __init__(self, problem: str | Text) -> None:
        super().__init__(str(problem))
        self.words: Text | None = problem if isinstance(problem, Text) else None
