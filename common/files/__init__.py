"""Files: written as a whole, read without running code, and known again by their content."""
