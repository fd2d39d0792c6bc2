"""Online visits: a link of ours that never changes, and the provider's meeting behind it.

    want        a visit is confirmed, moved or cancelled: its meeting is wanted so (`wanted`)
    make        a job asks the provider, outside any transaction, again and again until it did
    enter       `/join/<token>` leads on to it, from shortly before the visit begins (`door`)

Decided: people are told our own link alone. What stands behind it may be late, be made anew or come from another
provider, and whoever has the link notices nothing. A clinic that has a base URL for simple meetings of its own is the
exception: there the link is that address and the visit's unguessable token, as it was promised.
Decided: a payment never waits for a provider. A visit is confirmed when it is paid, its meeting follows by the job; if
the provider fails, the clinic's fallback stands in until it answers, and the link leads to where the meeting is.
Decided: a provider is asked under the same request id on each try, so that an answer that was lost makes no second
meeting. Where it knows no such id (Zoom), what was made is looked for by its topic before another is made.
Decided: Jitsi's rooms have no waiting room that a token can ask for, so the patient waits at our own door until the
clinician lets them in; Google and Zoom have theirs.
"""
