"""Every method on every task."""
