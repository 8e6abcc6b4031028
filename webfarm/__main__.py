"""``python -m webfarm`` is the ``webfarm`` command."""

from webfarm.cli import main

main()
