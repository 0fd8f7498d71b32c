"""What ci/kill.py does: kill a stage at a random moment, start it again, and compare with a run that nobody killed."""
