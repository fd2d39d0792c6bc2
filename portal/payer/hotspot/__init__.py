"""The captive portal: packages, phone, live status, a pasted message, a code, and what runs here already.

A MAC address is no secret: anybody near can read it. By it alone these pages say that a payment waits or access runs,
and connect that very device, once. A payment's own page, receipt and password are for the browser that began it (by
its cookie), or for who types the number that pays once more; a pass is besides for who has its code, or reads the SMS
of its number.

Decided: no cookie and no storage is needed. What a page has to know again stands in its address: what the router told,
the payment's token, a pass by a signed text that is good for a day.
Decided: at most 30 KB for the first load, uncompressed: one packed stylesheet and one packed script of our own, no
htmx, no picture. Each page works without the script, by forms and a refresh.
"""

from portal.payer.hotspot import buy, captive_api, code, front, line, lost, passes, paste, trial, wait
from portal.payer.hotspot.device import bp

__all__ = ["bp", "buy", "captive_api", "code", "front", "line", "lost", "passes", "paste", "trial", "wait"]
