"""What every training shares: progress, seeds, resuming, logs, several processes."""
