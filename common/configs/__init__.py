"""What a user may say: values and keys of the configs, on every command line and in every stage."""
