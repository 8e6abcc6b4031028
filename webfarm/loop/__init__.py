"""What one event loop does for thousands of clients: deadlines, ticks, time slices, job queues."""
