"""A family that needs a later version of a package."""

from transformers import Sam99Model  # noqa: F401
