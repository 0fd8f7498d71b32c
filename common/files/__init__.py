"""Files: atomic writes, locks, weights read without running code, fingerprints and provenance."""
