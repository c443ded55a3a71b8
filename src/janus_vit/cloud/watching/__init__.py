"""What happens in a cloud, for whoever watches it."""
