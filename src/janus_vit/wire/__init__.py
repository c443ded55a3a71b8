"""Bytes: what crosses the network, and back. Everything that comes in is hostile until checked."""
