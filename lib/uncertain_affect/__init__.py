"""A runnable companion to five papers on uncertainty in affect recognition."""

__version__ = "0.1.0"
