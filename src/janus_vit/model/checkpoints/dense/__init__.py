"""Checkpoints of transformers with dense heads: a backbone in a wrapper, and the head beside it."""
