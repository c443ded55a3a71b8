"""Frames and clips from folders, videos, cameras and the built-in samples."""
