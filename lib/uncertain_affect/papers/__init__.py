"""How each paper trains and is tested."""
