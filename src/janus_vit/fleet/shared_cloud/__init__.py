"""The cloud that all devices of a simulated fleet share, and their way to it, in virtual time."""
