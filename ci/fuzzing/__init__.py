"""What ci/fuzz.py does: make a bad input, give it to a reader or a command, and judge what comes of it."""
