"""Who may call a cloud, and how much of it each caller may use."""
