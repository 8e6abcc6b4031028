"""Engine.IO sessions over polling, over a websocket, or between the two."""
