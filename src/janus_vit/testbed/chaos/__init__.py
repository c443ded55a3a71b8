"""Faults injected into real processes and links, and a judge of what the devices recorded meanwhile."""
