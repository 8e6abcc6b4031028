"""``python -m chat`` is the ``chat`` command."""

from chat.cli import main

main()
