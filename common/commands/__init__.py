"""The commands of the command line: which there are, what they take, and what there is to give them."""
