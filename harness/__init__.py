"""Reproduce the tables of offline reinforcement learning papers, cell by cell."""

__version__ = "0.1.0"
