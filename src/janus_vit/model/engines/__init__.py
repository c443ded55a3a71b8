"""Ways to run a block on hardware: `base` says what an engine does, and each other file is one."""
