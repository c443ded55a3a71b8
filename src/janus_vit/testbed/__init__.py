"""Live runs on one machine: a cloud process, a link and a slowed device, held against their simulation."""
