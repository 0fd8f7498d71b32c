"""The comparison of methods on a grid of budgets: its plan, its record on disk, and what runs it."""
