"""A user id without an entry in passwd, as docker run -u gives it, does not keep anything from being imported."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")
# The look-up in passwd is what it is for such a user; the rest is real.
START = """
import os, pwd, sys

def nobody(key):
    raise KeyError(f"uid not found: {key}")

pwd.getpwuid = pwd.getpwnam = nobody
import common
print(os.environ["USER"], os.environ["HOME"])
import monai
"""


@pytest.mark.parametrize("known", [{}, {"USER": "me", "HOME": "/home/me"}])
def test_an_unknown_user_gets_a_name_and_a_home_and_keeps_those_it_has(known):
    environment = {key: value for key, value in os.environ.items() if key not in (*NAMES, "HOME")} | known
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", START], env=environment, cwd=root, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    expected = known or {"USER": f"uid{os.getuid()}", "HOME": tempfile.gettempdir()}
    assert done.stdout.split() == [expected["USER"], expected["HOME"]]
