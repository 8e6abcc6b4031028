"""The chat of this repository, an app on webfarm's doors.

- ``events``: the handlers, and the file to edit. ``event_arguments``, ``messages``, ``members`` and ``private_rooms`` are
  its parts.
- ``pages``: the chat's own pages. ``demo``: the demo's page, and what it asks a worker.
- ``app``: where the parts meet, as a WSGI application.
"""
