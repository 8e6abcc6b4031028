"""The way to Redis: one server, Sentinel or a cluster; keys, commands, subscriptions, scripts."""
