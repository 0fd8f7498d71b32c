"""Takes the place of scipy for releases that must do without it."""

raise ModuleNotFoundError("No module named 'scipy'", name="scipy")
