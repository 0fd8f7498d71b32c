"""The diffusion model, and the transfer set that is drawn from it."""
