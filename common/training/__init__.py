"""What every training shares: progress, seeds, resuming, learning rates, logs, several processes."""
