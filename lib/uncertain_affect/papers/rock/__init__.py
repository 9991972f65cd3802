"""HAN-ROCK: protocol, narratives, text, auxiliary targets, search."""
