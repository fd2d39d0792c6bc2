"""Calendar files: a visit for the calendar of whom it concerns. Source: RFC 5545 and 5546, clinic.md C6.

The uid of a visit never changes; its sequence is one more at each change, so that a calendar replaces what it has.
Times are UTC: Kenya knows no summer time, and every calendar shows its owner's clock.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from icalendar import Calendar, Event, vCalAddress, vText

from portal.kernel import clock

REQUEST, CANCEL, PUBLISH = "REQUEST", "CANCEL", "PUBLISH"


@dataclass(frozen=True)
class Entry:
    """One visit. summary: discreet, since others may see it. url: where it is held online; place: where else.

    Times are instants; `as_payload` writes them as RFC 3339.
    """

    uid: str
    sequence: int
    starts_at: datetime
    ends_at: datetime
    summary: str
    place: str = ""
    url: str = ""

    def as_payload(self, method: str) -> dict[str, Any]:
        """What a message carries, to be made a file of when it is sent."""
        times = {"starts_at": clock.rfc3339(self.starts_at), "ends_at": clock.rfc3339(self.ends_at)}
        return asdict(self) | times | {"method": method, "stamp": clock.rfc3339(clock.now())}


def entry_of(payload: dict[str, Any]) -> Entry:
    """The visit that a message carries."""
    fields = {name: payload[name] for name in ("uid", "sequence", "summary", "place", "url")}
    begin, end = (datetime.fromisoformat(payload[name].replace("Z", "+00:00")) for name in ("starts_at", "ends_at"))
    return Entry(**fields, starts_at=begin, ends_at=end)


def calendar_file(
    entry: Entry, method: str, *, stamp: datetime | None = None, organizer: str = "", attendee: str = ""
) -> bytes:
    """The file. organizer, attendee: e-mail addresses, which REQUEST and CANCEL must name."""
    event = Event()
    event.add("uid", entry.uid)
    event.add("sequence", entry.sequence)
    event.add("dtstamp", stamp or clock.now())
    event.add("dtstart", entry.starts_at)
    event.add("dtend", entry.ends_at)
    event.add("summary", entry.summary)
    event.add("status", "CANCELLED" if method == CANCEL else "CONFIRMED")
    if entry.url:
        event.add("url", entry.url)
        event.add("location", entry.url)
    elif entry.place:
        event.add("location", entry.place)
    if organizer:
        event.add("organizer", vCalAddress(f"mailto:{organizer}"))
    if attendee:
        who = vCalAddress(f"mailto:{attendee}")
        who.params["ROLE"], who.params["RSVP"] = vText("REQ-PARTICIPANT"), vText("FALSE")
        event.add("attendee", who)
    book = Calendar()
    book.add("prodid", "-//Mlango//EN")
    book.add("version", "2.0")
    book.add("method", method)
    book.add_component(event)
    return bytes(book.to_ical())
