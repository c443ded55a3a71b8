"""Engines, which run the model's blocks on a CPU or GPU. `base` defines the interface; `registry` lists the engines."""
