"""Reasons that were kept in English (audit trail, comparisons with statements), in the language of who reads them.

A reason is one sentence after the other. What is no sentence of ours is shown as it was kept: what a person wrote, and
what M-Pesa said in its own words.
"""

import re
from functools import cache

from portal.kernel.errors import Sentence as _
from portal.web.language import said

SENTENCES = (
    _("A person found that M-Pesa does not have it."),
    _("A person said that it was paid."),
    _("A person took it: %(reference)s."),
    _("A person took it: for none of the requests."),
    _("A refund of ours reversed it, whole or in part."),
    _("A refund of this amount to this phone failed here; at M-Pesa it went out."),
    _("A reversal that pays in. Find out what it undoes."),
    _("A second word of receipt %(receipt)s."),
    _("An administrator found that it never went."),
    _("Approved by a second person."),
    _("Ask for it anew."),
    _("Booked from M-Pesa's records."),
    _("Check the base URL; if it is right, try again in some minutes."),
    _("Check this server's internet connection and the gateway's base URL, then try again."),
    _("Claimed by a worker."),
    _("Compare with the statement, then say what became of it."),
    _("Copy both again from the app's page on the Daraja portal, and check that they belong to this environment."),
    _("From M-Pesa's list."),
    _("Here it came in; at M-Pesa it went out."),
    _("Here it is %(here)s, at M-Pesa %(there)s."),
    _("Here it is reversed; these records name no reversal of it."),
    _("Here it was taken back by hand; M-Pesa received it."),
    _("It could not be taken back:"),
    _("It may be a refund of ours that still waits for M-Pesa's answer."),
    _("It names shortcode %(shortcode)s, which is not this gateway's."),
    _("It reverses %(receipt)s, which is not known here."),
    _("It was asked %(count)s times."),
    _("It was known without its receipt, which was learnt from here."),
    _("Its gateway takes other money now than it came in as."),
    _("Its receipt is known already."),
    _("Its refund was ended before it was sent."),
    _("Look for it on the statement."),
    _("M-Pesa accepted the request."),
    _("M-Pesa called back: paid."),
    _("M-Pesa confirmed it when asked."),
    _("M-Pesa confirmed it."),
    _("M-Pesa could not be reached in time."),
    _("M-Pesa does not answer the question about it (%(said)s)."),
    _("M-Pesa does not know it (%(code)s)."),
    _("M-Pesa does not tell whether this part went back."),
    _("M-Pesa gave up waiting in its queue."),
    _("M-Pesa has reversed this payment itself meanwhile."),
    _("M-Pesa reversed it."),
    _("M-Pesa reverses a payment once, and did: pay this out by B2C."),
    _("M-Pesa said %(code)s:"),
    _("M-Pesa says %(status)s when asked."),
    _("M-Pesa says paid when asked."),
    _("M-Pesa says paid when asked; its receipt is to follow."),
    _("M-Pesa says reversed, as it was before this refund."),
    _("M-Pesa says that the payment still stands."),
    _("M-Pesa states %(amount)s."),
    _("M-Pesa told its receipt after a person had found that it was not paid."),
    _("M-Pesa told its receipt."),
    _("M-Pesa's %(server)s server could not be reached."),
    _("M-Pesa's %(server)s server gave no token (HTTP %(status)s)."),
    _("M-Pesa's receipt of it is not known, and no row of these records fits it."),
    _("M-Pesa's records of this time lack it."),
    _("M-Pesa's words about this payment differ: it waits until a person decides."),
    _("More than one push could be its origin; staff decide."),
    _("No answer came in time."),
    _("No result came in time."),
    _("Nothing is sent with this initiator until an administrator has looked."),
    _("Nothing was booked."),
    _("Nothing was sent."),
    _("Our own reversal, which still waits for M-Pesa's answer."),
    _("Paid, receipt %(receipt)s."),
    _("Receipt %(receipt)s credited to %(account)s."),
    _("Receipt %(receipt)s fits several prompts: it waits to be placed."),
    _("Receipt %(receipt)s for %(reference)s, by one of its prompts or by hand."),
    _("Receipt %(receipt)s for %(reference)s."),
    _("Receipt %(receipt)s settles the message that claimed it."),
    _("Receipt %(receipt)s waits to be placed."),
    _("Receipt %(receipt)s."),
    _("Refused by a second person."),
    _("Reversed by M-Pesa in part."),
    _("Reversed by M-Pesa: %(receipt)s."),
    _("Reversed here too."),
    _("Row %(number)s, %(receipt)s, could not be taken:"),
    _("Staff wait for it no longer."),
    _("Test and real money were switched before it was sent."),
    _("Test and real money were switched."),
    _("The appointment was cancelled."),
    _("The consumer key or secret was refused by the %(server)s server."),
    _("The gateway's initiator is missing."),
    _("The message was refused."),
    _("The package or its gateway changed."),
    _("The payer's number cannot be opened: its key is not in the ring."),
    _("What it paid is owed again."),
    _("What was due changed before it was sent."),
)
_NAMED = re.compile(r"%\((\w+)\)s")


def reason(kept: str | None) -> str:
    """A kept reason for its reader, sentence by sentence; from the first one that is not ours on, as it was kept."""
    told: list[str] = []
    rest = kept or ""
    while rest and (found := _first_of(rest)):
        sentence, length = found
        told.append(said(sentence))
        rest = rest[length:].lstrip()
    return " ".join([*told, rest] if rest else told)


def _first_of(text: str) -> tuple[_, int] | None:
    for pattern, template in _patterns():
        if found := pattern.match(text):
            return _(template, **found.groupdict()), found.end()
    return None


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """The longest first: one that begins like another has more of its own."""
    templates = sorted((one.template for one in SENTENCES), key=lambda one: -len(_NAMED.sub("", one)))
    return tuple((_pattern(template), template) for template in templates)


def _pattern(template: str) -> re.Pattern[str]:
    parts = _NAMED.split(template)  # text, name, text, name, …
    spelt = "".join(rf"(?P<{part}>(?:(?!\. ).)+?)" if nth % 2 else re.escape(part) for nth, part in enumerate(parts))
    return re.compile(rf"{spelt}(?=\s|$)", re.DOTALL)
