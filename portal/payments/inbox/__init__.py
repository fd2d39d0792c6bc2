"""Callbacks, kept before they are acknowledged: in the database, or on this machine's disk."""
