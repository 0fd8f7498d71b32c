"""The stand-in teacher: a small SAM that ships with this package, and how it was pre-trained on procedural scenes."""
