"""Who we work for: clinics and hotspot operators, and the series of numbers each of them counts.

Every row that belongs to a tenant carries its tenant_id, and every unique key includes it.
"""
