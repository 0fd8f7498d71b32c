"""Pre-training a small diffusion model on procedural pictures, for others to start from."""
