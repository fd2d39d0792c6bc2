"""Money on its way back: asked for, approved, sent, and known by M-Pesa's word."""
