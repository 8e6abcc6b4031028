"""Faults: what becomes of the messages of stock clients when something breaks under them."""
