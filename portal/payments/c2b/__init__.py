"""Money that customers pay by hand: validated beforehand, confirmed, found in M-Pesa's own list, or undecidable."""
