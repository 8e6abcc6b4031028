"""One shard's ordered log: stored in batches, followed, with a position."""
