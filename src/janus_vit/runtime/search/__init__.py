"""Looking for a cloud that is absent: when to try again, and what the device does meanwhile."""
