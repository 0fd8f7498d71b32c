"""Pictures for people: colours, legends, contours, zoomed parts and sheets; NumPy and Pillow alone."""
