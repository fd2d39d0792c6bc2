"""Pasted M-Pesa messages: read, checked against money that is known, or submitted for a person to look at."""
