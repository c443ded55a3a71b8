"""Measurements before a stream: latency of a machine, accuracy on a user's frames, learned merging schedules."""
