"""What outlives a connection: sessions are written, renewed, taken, replayed and ended."""
