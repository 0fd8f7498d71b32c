"""Bundles that `create` makes of plain folders, beside those that were made by hand."""
