"""Frames in flight: requests on their way, and how each frame ends."""
