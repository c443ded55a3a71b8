"""A frame's life: the device's loop, the transport, the cloud's service, records."""
