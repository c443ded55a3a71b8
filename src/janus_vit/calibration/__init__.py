"""What is measured before a stream: the latency profile, accuracy on your own frames, learned schedules."""
