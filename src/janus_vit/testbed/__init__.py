"""Live runs on one machine: a cloud process, an emulated link and a slowed device, compared with their simulation."""
