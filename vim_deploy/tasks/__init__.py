"""What is done with a network: one folder per task."""
