"""The commands' work; ``webfarm.cli`` has their options."""
