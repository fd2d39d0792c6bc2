"""Passwords in the tests: hashed as production does, argon2 would be most of what they do; one checks its strength."""

from argon2 import PasswordHasher

from portal.users import credentials

STRONG_HASHER = credentials._hasher
CHEAP_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def hash_cheaply() -> None:
    """For as long as this process lives."""
    credentials._hasher = CHEAP_HASHER
