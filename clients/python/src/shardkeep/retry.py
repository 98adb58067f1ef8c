"""When a call is worth another try.

A call is tried again when the server says that it changed nothing and when to come back, and when
the connection broke while the call was one that may happen twice: a read, a write without a
condition that says all of what it leaves, or one that the server knows by its name. Pauses grow, with
jitter, and all calls of a connection share a budget, so that a server in trouble does not get more
load from those who wait for it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .errors import Error, Unavailable

# What a call that succeeds gives back to the budget: one retry for ten calls.
_REFUND = 0.1


@dataclass(frozen=True)
class Retry:
    """How often and how patiently calls are tried again."""

    #: Tries of one call, the first included.
    attempts: int = 8
    #: Seconds before the second try; they double from try to try.
    initial: float = 0.05
    #: The longest pause in seconds. Whoever is told to wait longer gets the error instead.
    maximum: float = 1.0
    #: Retries that the calls of one connection may make together, beside one for every ten calls.
    budget: float = 100.0


#: Every call is tried once.
NO_RETRY = Retry(attempts=1)


class Retries:
    """A connection's retries."""

    def __init__(self, policy: Retry) -> None:
        self._policy = policy
        self._left = policy.budget

    @property
    def may_repeat(self) -> bool:
        """Whether calls are tried again at all."""
        return self._policy.attempts > 1

    def succeeded(self) -> None:
        """A call succeeded."""
        self._left = min(self._policy.budget, self._left + _REFUND)

    def pause(self, error: Error, tries: int, *, idempotent: bool) -> float | None:
        """Seconds until the next try of a call that was tried so often; None for no more tries."""
        policy = self._policy
        # Asked again, the server has no other answer than that it does not know.
        is_final = error.reason == "OUTCOME_UNKNOWN" and tries > 1
        is_lost = isinstance(error, Unavailable) and not is_final
        safe = error.retry_after is not None or (idempotent and is_lost)
        told = error.retry_after or 0.0
        if not safe or tries >= policy.attempts or told > policy.maximum or self._left < 1:
            return None
        self._left -= 1
        backoff: float = min(policy.maximum, policy.initial * 2 ** (tries - 1))
        return max(told, backoff * random.uniform(0.5, 1.0))
