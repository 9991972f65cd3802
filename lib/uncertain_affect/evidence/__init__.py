"""What was measured and what follows from it: claims, intervals, printed numbers, the audit."""
