"""The clients of this worker: rooms, shards, delivery and recovery, with Redis or without."""
