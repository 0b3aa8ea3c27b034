"""Trains populations: data, update cycle, evaluation, checkpoints. Knows runs, not papers."""
