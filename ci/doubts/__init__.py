"""What ci/doubt.py consists of."""
