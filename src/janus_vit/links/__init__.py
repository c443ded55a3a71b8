"""Networks between device and cloud: recorded and generated traces, an emulated link, a tunnel of packets."""
