"""Where work runs and what it leaves: workers, the cache, paths."""
