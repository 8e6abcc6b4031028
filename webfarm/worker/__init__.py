"""gunicorn's worker and systemd's watchdog: one worker, one port."""
