"""Models, one module per paper, and the backbones they share."""
