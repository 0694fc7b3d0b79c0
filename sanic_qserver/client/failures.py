"""What can go wrong, and the exit code of each: programs read the code, people the text and the hint."""

from typing import ClassVar

REFUSED, USAGE, NOT_PERMITTED, UNREACHABLE, OUTCOME_UNKNOWN = 1, 2, 3, 4, 5
INTERRUPTED, BROKEN_PIPE = 130, 141
"""As shells count a program that ended by SIGINT or SIGPIPE."""


class Failure(Exception):
    """Ends a command. `hint` says what to do; `details` are what the server told beside its text."""

    exit_code: ClassVar[int] = REFUSED

    def __init__(self, text: str, hint: str = "", **details: object) -> None:
        super().__init__(text)
        self.text, self.hint, self.details = text, hint, details


class Refused(Failure):
    """RE Manager, or the server before it, said no: nothing was done."""


class WrongUsage(Failure):
    """The command, its arguments or a file cannot be what was meant: nothing was sent, or nothing was done."""

    exit_code = USAGE


class NotPermitted(Failure):
    """Not logged in, or not permitted."""

    exit_code = NOT_PERMITTED


class Unreachable(Failure):
    """No server, or no manager behind it, answers: nothing was done."""

    exit_code = UNREACHABLE


class OutcomeUnknown(Failure):
    """The call was sent and its answer was lost."""

    exit_code = OUTCOME_UNKNOWN
