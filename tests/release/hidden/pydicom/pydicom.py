"""Takes the place of pydicom for releases that must do without it."""

raise ModuleNotFoundError("No module named 'pydicom'", name="pydicom")
