"""The cloud: serves one model to many devices."""
