"""Daraja's doors, as programs see them."""
