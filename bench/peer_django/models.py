"""The package's two tables, made real."""

from django_mpesa.models import AbstractMpesaCallbackLog, AbstractMpesaTransaction


class MpesaTransaction(AbstractMpesaTransaction):
    """One push and what became of it."""

    class Meta(AbstractMpesaTransaction.Meta):
        abstract = False
        db_table = "peer_transactions"


class MpesaCallbackLog(AbstractMpesaCallbackLog):
    """What M-Pesa sent."""

    class Meta(AbstractMpesaCallbackLog.Meta):
        abstract = False
        db_table = "peer_callbacks"
