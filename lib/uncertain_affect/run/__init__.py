"""What runs notebooks and records what they measure; the command line."""
