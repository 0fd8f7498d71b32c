"""Vision foundation models as prompt-free segmentation networks."""
