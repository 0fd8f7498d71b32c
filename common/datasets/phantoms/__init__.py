"""Procedural images in the layout of each dataset."""
