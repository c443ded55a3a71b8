"""Accuracy of plans: measured configurations, and estimates for the others."""
