"""The two kinds of trouble: the user's mistake, and everything wrong with a configuration at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class TunesmithError(Exception):
    """A mistake the user can mend: what is wrong, and (``hint``) what to write instead.

    The command line prints it as two lines without a traceback and exits with status 2. Any other exception
    is a defect of ours or of a plugin: it keeps its traceback and exits with status 1.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with a configuration.

    ``where`` is the place a user can go to ("run.yaml:7", "command line", "TUNESMITH_BACKEND").
    """

    where: str
    what: str
    instead: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}" + (f"\n    {self.instead}" if self.instead else "")


@dataclass(frozen=True)
class Notice:
    """Something about a run that its user should know and that is no mistake; it is listed in the plan."""

    what: str


@dataclass(frozen=True, order=True)
class Lacking(Problem):
    """What this machine does not have now, found by a check of the plan: listed by ``tunesmith plan``, fatal to a run."""


class ConfigError(TunesmithError):
    """Every problem of a configuration, found before anything expensive starts."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(map(str, self.problems)))


def nearest(word: object, known: Iterable[object], *, cutoff: float = 0.6) -> str:
    """``Did you mean 'lora'?``, or the empty string when nothing known is close to ``word``."""
    names = [str(name) for name in known]
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=cutoff)
    if not close:
        small = {name.lower(): name for name in names}
        close = [small[one] for one in difflib.get_close_matches(str(word).lower(), small, n=1, cutoff=cutoff)]
    return f"Did you mean {close[0]!r}?" if close else ""


class BadRow(ValueError):
    """A row that cannot become an example. ``column`` names the part of the row that is wrong, where one is."""

    def __init__(self, reason: str, column: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.column = column


class BadMedia(TunesmithError, BadRow):
    """An image, video or sound that cannot be seen or heard: a bad row in data, a mistake of whoever asks in a request."""

    def __init__(self, reason: str, column: str | None = None) -> None:
        TunesmithError.__init__(self, f"{reason.replace('the', 'The', 1) if reason.startswith('the') else reason}.")
        self.reason, self.column = reason, column


class RewrittenReplies(TunesmithError):
    """Answers that the text of the whole conversation holds in another form than the model would write them in.

    ``turns``: their indexes among the conversation's turns. Preparing data gives every answer an example of its own then.
    """

    def __init__(self, message: str, hint: str, turns: frozenset[int]) -> None:
        super().__init__(message, hint)
        self.turns = turns
