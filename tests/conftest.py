"""Shared by all tests: one thread a process, so that parallel tests on few cores do not fight."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
