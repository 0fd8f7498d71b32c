"""Losses, feature hooks and the teacher's outputs."""
