"""The two ways a command can end badly, and the sentence that names the nearest valid choice."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in the request. The message is one sentence for the user; the command exits with 2."""


class MissingWeights(UserError):
    """Starting weights that are not there: a mistake of one row, and no reason to stop a study."""


class RunError(RuntimeError):
    """A failure while running (collapse, non-finite loss, no space left). The command exits with 1."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """' Did you mean "x"?' when some choice is close to `name`, else the whole list of choices."""
    choices = sorted(choices)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    return f' Did you mean "{close[0]}"?' if close else f" Valid: {', '.join(choices) or 'none'}."
