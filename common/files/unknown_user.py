"""Users whom the system does not know, as in a container that is run with a bare user id."""

from __future__ import annotations

import getpass
import os
import tempfile


def name_unknown_user() -> None:
    """Give this process, and those it starts, a name for its user and a home where the system has none.

    PyTorch and MONAI cannot be imported without the name, and without a home the Hugging Face hub would keep what it
    downloads in a folder called ``~``.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        os.environ["USER"] = f"uid{os.getuid()}"
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = tempfile.gettempdir()
