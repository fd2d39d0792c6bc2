"""The tests of the product, each in the room of what it tests: portal/payments/c2b is tested by tests/payments/c2b.

    support/        what tests share: the product with its people (product.py), the application it runs in
                    (application.py), its visitors and workers, M-Pesa's callbacks (daraja.py), real servers (services/)
    browser/        the pages in a real browser
    chaos/          real programs that are killed while people pay

No test imports from another test: what two need is in support/. Doubles stand at the HTTP boundary only.
"""

import os
import sys

# They start the same programs dozens of times: Python compiles those once, whatever this machine's habit is.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
