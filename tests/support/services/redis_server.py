"""A real Redis for the tests: the one the demo would use, with a clean database a test."""

import itertools

import redis

_DATABASES = 16  # Redis's default
_numbers = itertools.cycle(range(1, _DATABASES))


def fresh_redis_database(url: str) -> str:
    """URL of an emptied database on the server of `url`, another one than the last fifteen calls gave."""
    fresh = f"{url.partition('?')[0]}?db={next(_numbers)}"  # redis-py reads it for sockets and ports alike
    with redis.Redis.from_url(fresh) as client:
        client.flushdb()
    return fresh
