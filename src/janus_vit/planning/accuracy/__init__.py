"""What a plan costs in accuracy: measured configurations and what follows for the others."""
