"""The front desk: who has arrived, whose turn it is, and the cash drawer from its opening to its count."""
