"""What the method costs; one module for each kind of cost, run by ``ci/benchmark.py``."""
