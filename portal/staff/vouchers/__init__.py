"""Vouchers: made in batches, printed on sheets, looked up, voided."""

from portal.staff.vouchers.pages import register_routes

__all__ = ["register_routes"]
