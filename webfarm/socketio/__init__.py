"""The ``Server`` and the ``Namespace``: joining, handlers, acknowledgements, and what reaches all nodes."""
