"""A breaker for each gateway: while M-Pesa does not answer, nobody else is made to wait for it.

After FAILURES prompts without an answer, within MEMORY_S and with none answered in between, prompts are not sent for
OPEN_S; then the next one tries, and the first answer closes it again. What it holds back certainly was not sent: it is
tried again by the rule for that (once, after 30 s), and the payer reads that M-Pesa is not answering.

Decided: its memory is Redis, shared by all workers and gone with it; without Redis it is closed, because to send is
what a payer wants and the rows decide everything else.
Decided: only prompts count and only prompts wait. A question about a payment is never held back: nobody waits for it.
"""

import redis

from portal.gateways import daraja
from portal.kernel import queue
from portal.kernel.logs import logger

FAILURES, MEMORY_S = 5, 120
OPEN_S = 25  # shorter than the 30 s after which a prompt is tried again


def is_open(gateway_id: int) -> bool:
    """Whether prompts of this gateway should wait. Never raises."""
    try:
        return bool(queue.connection().exists(_open(gateway_id)))
    except redis.RedisError:
        return False


def is_suspect(gateway_id: int) -> bool:
    """Whether its latest prompt got no answer: another may wait as long. Never raises."""
    try:
        return bool(queue.connection().exists(_failures(gateway_id)))
    except redis.RedisError:
        return False


def answered(gateway_id: int) -> None:
    """M-Pesa answered, whatever it said: all is forgotten. Never raises."""
    try:
        queue.connection().delete(_failures(gateway_id), _open(gateway_id))
    except redis.RedisError as error:
        logger.warning("breaker_without_memory", error=type(error).__name__)


def failed(gateway_id: int, error: daraja.DarajaError) -> None:
    """A prompt failed: counted if M-Pesa did not answer it, forgotten if it did. Never raises."""
    if not isinstance(error, daraja.Unreachable | daraja.OutcomeUnknown):
        answered(gateway_id)
        return
    try:
        with queue.connection().pipeline() as together:
            together.incr(_failures(gateway_id))
            together.expire(_failures(gateway_id), MEMORY_S)
            count = int(together.execute()[0])
        if count >= FAILURES and queue.connection().set(_open(gateway_id), "1", nx=True, ex=OPEN_S):
            logger.error("mpesa_does_not_answer", gateway=gateway_id, failures=count, pause_s=OPEN_S)
    except redis.RedisError as away:
        logger.warning("breaker_without_memory", error=type(away).__name__)


def _failures(gateway_id: int) -> str:
    return f"breaker:{gateway_id}:failures"


def _open(gateway_id: int) -> str:
    return f"breaker:{gateway_id}:open"
