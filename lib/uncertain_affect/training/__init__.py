"""Training: the fit loop, fine-tuning, frozen features, augmentation."""
