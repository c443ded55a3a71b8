"""What several commands share: options, loading, measuring, output."""
