"""Simulation in virtual time: the live device loop over recorded links, upper bounds, and comparisons of policies."""
