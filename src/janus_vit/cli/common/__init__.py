"""Code that several commands share: options, loading, measuring, output."""
