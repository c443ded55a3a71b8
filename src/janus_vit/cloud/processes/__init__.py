"""Processes that receive and decode requests for the one that owns the engine, and how frames cross between them."""
