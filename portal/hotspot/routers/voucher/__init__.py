"""Sites where nobody tells the router: codes are brought in by hand, and count as delivered when they are sold.

Decided: this is no failure of provisioning, so the reconciler never looks at such a site; a code that was printed is
sold, and only its router knows whether it opens anything. It is also the safe fallback: a sale never fails because of a
router.
"""

from collections.abc import Sequence

from portal.hotspot.models import AccessSession, Package, Site
from portal.hotspot.routers.interface import Finding, Health, Listed, Outcome, Wanted, done, register, unsupported
from portal.kernel.errors import Sentence as _


class VoucherOnly:
    """A router that knows codes only from a person."""

    kind = "voucher"
    capabilities: frozenset[str] = frozenset()

    def ensure_package(self, site: Site, package: Package) -> Outcome:
        return done("by_hand")

    def ensure_grants(self, site: Site, wanted: Sequence[Wanted]) -> list[Outcome]:
        return [done("by_hand") for _one in wanted]

    def revoke_grants(self, site: Site, gone: Sequence[Wanted]) -> list[Outcome]:
        return [unsupported("to take back a code that was brought in by hand") for _one in gone]

    def push_login(self, site: Site, wanted: Wanted, *, mac: str, ip: str) -> Outcome:
        return unsupported("to sign a device in")

    def kick(self, site: Site, session: AccessSession) -> Outcome:
        return unsupported("to disconnect a device")

    def change_live(self, site: Site, session: AccessSession, wanted: Wanted) -> Outcome:
        return unsupported("to change a session that runs")

    def sessions(self, site: Site) -> Listed:
        return Listed(unsupported("to list who is online"))

    def check(self, site: Site) -> Health:
        finding = Finding("by_hand", True, _("Nothing is sent to this router: codes are brought in by hand."))
        return Health(done("by_hand"), (finding,))


register(VoucherOnly())
