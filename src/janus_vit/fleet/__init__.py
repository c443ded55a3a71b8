"""Many devices that share clouds, in virtual time, and the bound that no policy can pass."""
