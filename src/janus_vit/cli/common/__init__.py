"""What several commands share: options, console output, loading."""
