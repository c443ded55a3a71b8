"""Which plan runs the next frame."""
