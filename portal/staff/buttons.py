"""What a button on a staff page does: its work is done, how it went is said, and a page is shown again."""

from collections.abc import Callable

from flask import flash, redirect
from flask.typing import ResponseReturnValue

from portal.kernel import queue
from portal.kernel.db import transaction
from portal.kernel.errors import NotFound, Refused
from portal.web.language import said


def do(work: Callable[[], str], *, then: str, ring: queue.Job | None = None) -> ResponseReturnValue:
    """Do the work in one transaction, ring, say the sentence that it gives, and show the page at `then`.

    What is refused is said instead, and nothing is changed. Raises NotFound, which is a page of its own.
    """

    def whole() -> str:
        with transaction():
            sentence = work()
        if ring is not None:
            queue.enqueue(ring)
        return sentence

    return do_outside(whole, then=then)


def do_outside(work: Callable[[], str], *, then: str) -> ResponseReturnValue:
    """The same for work that opens its own transactions, and none while it waits on a network."""
    try:
        sentence = work()
    except NotFound:
        raise
    except Refused as error:
        flash(said(error.message), "danger")
    else:
        if sentence:
            flash(sentence, "success")
    return redirect(then, 303)
