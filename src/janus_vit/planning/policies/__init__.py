"""Policies: which plan runs the next frame."""
