"""Which workers live, who is connected where, and what nodes ask each other."""
