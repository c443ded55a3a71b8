"""Positions of patches as checkpoints give them: learned ones for another grid, and the kinds of rotary ones."""
