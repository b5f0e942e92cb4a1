"""The one exception for everything a user, a file or the network can cause.

Always holds: it says where (a dotted configuration path or a file), what was got, and what is allowed or what to
do next. The commands turn it into one line on stderr and exit code 2, never a traceback.
"""

from __future__ import annotations

EXIT_USER_ERROR = 2


class UserError(Exception):
    """A mistake that the person at the keyboard can mend.

    Args:
        place: dotted path (`model.vocab_size`) or file name where the problem lies.
        got: what was found there, in words.
        allowed: what would have been accepted, or what to do now.
    """

    def __init__(self, place: str, got: str, allowed: str) -> None:
        super().__init__(f"{place}: got {got}; {allowed}")
        self.place, self.got, self.allowed = place, got, allowed

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        return UserError, (self.place, self.got, self.allowed)
