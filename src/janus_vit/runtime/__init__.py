"""The life of a frame on the device: plan, compute, send, fall back."""
