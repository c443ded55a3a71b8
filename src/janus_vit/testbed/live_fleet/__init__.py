"""A fleet on one machine, live beside its simulation: a cloud process, slowed devices, emulated links."""
