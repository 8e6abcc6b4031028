"""A browser's connection: strict HTTP, websockets without greenlets, a bounded outbox."""
