"""What an operator sees of this process: counters, gauges, loop lag, capacity, log lines."""
