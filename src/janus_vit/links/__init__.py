"""Networks between a device and a cloud: recorded and generated traces, an emulated link, a packet-level tunnel."""
