"""Where frames come from: folders, videos, cameras and built-in samples."""
