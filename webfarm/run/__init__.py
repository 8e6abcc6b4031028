"""``webfarm run``: the whole farm in the foreground."""
