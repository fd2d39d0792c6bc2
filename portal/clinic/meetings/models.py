"""How a clinic meets online, and the meeting behind each of its visits."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from portal.clinic.models import Appointment
from portal.kernel import vault
from portal.kernel.db import Model, TenantOwned, new_token, sealed
from portal.kernel.due import Due

TO_MAKE = Due("meetings", "next_at", ("next_at IS NOT NULL",))
TO_CHECK = Due("meeting_settings", "check_at", ("check_at IS NOT NULL",))


class MeetingSettings(TenantOwned, Model, is_paged=False):
    """A clinic's choice. provider and fallback: names in `providers.KINDS`; fallback "": none, staff are told.

    config_sealed: {provider: its settings and credentials} as JSON. opens_minutes: how long before its beginning a
    visit's door opens. check_at: when the provider is asked next whether our credentials hold; None: there is none to
    ask. check_error: what it said last; "" where all was well.
    """

    __tablename__ = "meeting_settings"
    __table_args__ = (UniqueConstraint("tenant_id"), TO_CHECK.index("ix_meeting_settings_check"))

    provider: Mapped[str] = mapped_column(String(10), default="simple")
    fallback: Mapped[str] = mapped_column(String(10), default="simple")
    config_sealed: Mapped[str | None] = sealed(vault.MEETING)
    opens_minutes: Mapped[int] = mapped_column(default=15)
    check_at: Mapped[datetime | None]
    checked_at: Mapped[datetime | None]
    check_error: Mapped[str] = mapped_column(String(300), default="")


class Meeting(TenantOwned, Model, is_paged=False):
    """The meeting behind a visit's own link, which stays the same when this one changes.

    wanted: made or cancelled. version: one more whenever what is wanted changed; told_version: the one that the
    provider knows. request_id: of what is asked of the provider, the same on each try. fell_back: the clinic's fallback
    stands in while the provider does not answer; it is asked on until the visit ends. next_at: when there is something
    to do. handed_url_sealed: where the clinician meets instead, as they pasted it. knocked_at: the patient is at the
    door; host_at: the clinician went in; admitted_at: they let the patient in, where the provider has no waiting room.
    """

    __tablename__ = "meetings"
    __table_args__ = (UniqueConstraint("appointment_id"), TO_MAKE.index("ix_meetings_due"))

    appointment_id: Mapped[int] = mapped_column(ForeignKey("appointments.id"))
    provider: Mapped[str] = mapped_column(String(10))
    wanted: Mapped[str] = mapped_column(String(10), default="made")
    version: Mapped[int] = mapped_column(default=1)
    told_version: Mapped[int] = mapped_column(default=0)
    request_id: Mapped[str] = mapped_column(String(40), default=new_token)
    external_id: Mapped[str] = mapped_column(String(120), default="")
    join_url_sealed: Mapped[str | None] = sealed(vault.MEETING)
    handed_url_sealed: Mapped[str | None] = sealed(vault.MEETING)
    fell_back: Mapped[bool] = mapped_column(default=False)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime | None]
    last_error: Mapped[str] = mapped_column(String(300), default="")
    knocked_at: Mapped[datetime | None]
    host_at: Mapped[datetime | None]
    admitted_at: Mapped[datetime | None]
    appointment: Mapped[Appointment] = relationship()
