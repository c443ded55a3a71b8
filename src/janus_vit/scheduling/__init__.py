"""What a cloud runs next: jobs, costs, admission and batches as plain numbers, with the time as an argument."""
