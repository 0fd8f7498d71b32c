"""Metrics, summaries and overlays."""
