"""What ``ci/gpu_check.py`` runs; the check itself needs nothing but Python, each part is a process of its own."""
