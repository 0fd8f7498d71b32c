"""A bundle for a folder of one's own images: what is there, what suits it, and why."""
