"""The tests of the product, in its own rooms, and what they share (`support/`)."""

import os
import sys

# They start the same programs dozens of times: Python compiles those once, whatever this machine's habit is.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
