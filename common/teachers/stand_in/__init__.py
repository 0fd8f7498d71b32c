"""The stand-in teacher: its weights and how they were made."""
