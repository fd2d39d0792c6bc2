"""Customers and the money kept for them."""
