"""What holds for every test."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes share the cores: with a thread for each core, all would wait for one another.
    os.environ["OMP_NUM_THREADS"] = "1"
