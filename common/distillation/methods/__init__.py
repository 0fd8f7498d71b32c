"""What prepares a student before it is fine-tuned."""
