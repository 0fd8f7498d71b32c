"""The files of a dataset in plain folders or a datalist: which image, label and patient belong together."""
