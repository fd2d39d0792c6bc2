"""Several callers at once."""

import threading
from collections.abc import Callable
from typing import Any

from portal.kernel.db import db
from tests.support.product import Product


def together(product: Product, *work: Callable[[], Any]) -> list[Any]:
    """Run each piece in its own thread and application context, released by a barrier; their results."""
    barrier, results, errors = threading.Barrier(len(work)), [None] * len(work), []

    def run(index: int, piece: Callable[[], Any]) -> None:
        with product.app.app_context():
            barrier.wait()
            try:
                results[index] = piece()
            except Exception as error:
                errors.append(error)
            finally:
                db.session.remove()

    threads = [threading.Thread(target=run, args=(index, piece)) for index, piece in enumerate(work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return results
