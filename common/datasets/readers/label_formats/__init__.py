"""The ways in which people draw labels into pictures, each as a function that returns what was meant."""
