"""What a router shows to who is refused. `@` is where the policy fills in when access begins."""

from portal.kernel.errors import Sentence
from portal.kernel.errors import Sentence as _

SENTENCES: dict[str, Sentence] = {
    "wrong": _("Wrong code or password."),
    "throttled": _("Too many wrong tries. Wait ten minutes, or sign in through the Wi-Fi page."),
    "mac": _("Buy a package on the Wi-Fi page."),
    "over": _("This sign-in was used or is too old. Open the Wi-Fi page again."),
    "device": _("This sign-in is for another device. Open the Wi-Fi page on this one."),
    "elsewhere": _("Your package is not valid at this place."),
    "ended": _("Your package was closed. Open the Wi-Fi page to see why, or to buy another one."),
    "expired": _("Your package has expired. Buy another one on the Wi-Fi page."),
    "suspended": _("Your package is suspended. Ask the seller."),
    "begins": _("Your package begins on @."),
    "online": _("The time of your package is used up. Buy another one on the Wi-Fi page."),
    "data": _("The data of your package are used up. Buy more on the Wi-Fi page."),
    "today": _("Today's data are used up. There are more after midnight."),
    "devices": _("Your package is in use on as many devices as it is for. Sign one of them out first."),
}
