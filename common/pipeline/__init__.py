"""The stages of a bundle in order."""
