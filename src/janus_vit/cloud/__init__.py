"""The serving side: one model for many devices."""
