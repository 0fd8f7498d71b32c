"""The error a user can fix."""


class InputError(ValueError):
    """Something the user gave is missing or wrong.

    The message names the file or key, says what was expected and what to do; it is shown without a traceback.
    """


class StageError(InputError):
    """A stage that ran in a process of its own failed, and has said why."""
