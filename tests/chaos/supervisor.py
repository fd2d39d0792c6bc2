"""`python -m tests.chaos.supervisor JSON`: Redis and the product's programs under `portal.processes.supervisor`, as the demo has them."""

import json
import sys
from pathlib import Path

from portal.processes.embedded_redis import redis_command
from portal.processes.supervisor import Process, supervise


def main() -> int:
    """Run until SIGTERM. JSON: `redis`, `logs`: folders; `programs`: arguments by name."""
    given = json.loads(sys.argv[1])
    redis = redis_command(Path(given["redis"]))
    programs = [Process(name, argv) for name, argv in given["programs"].items()]
    return supervise(
        [Process("redis", redis.argv, is_ready=redis.answers, needed_first=True), *programs],
        log_directory=Path(given["logs"]),
    )


if __name__ == "__main__":
    sys.exit(main())
