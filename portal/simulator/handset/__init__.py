"""The telephone that people press, and the front page."""
