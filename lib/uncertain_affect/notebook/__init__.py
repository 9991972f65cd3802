"""What notebooks show: plots, widgets, exercises."""
