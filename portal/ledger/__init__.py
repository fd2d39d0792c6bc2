"""Double entry, append-only: journals whose lines sum to zero, unique by what they describe.

Accounts are plain names: `mpesa_clearing` (money at M-Pesa), `suspense` (money without a home), `revenue:<purpose>`,
`wallet:<customer>`, `refunds_due`, `drawer:<channel>`. Debits are positive, credits negative.
Money whose home is known as it comes goes from `mpesa_clearing` to revenue in one journal; what has none yet, or is
too much, stands in suspense until another journal takes it out.
Decided: balances (wallets, suspense, refunds due) are sums of lines, never columns; what a hot path needs as a column
(`allocated_cents`, `unallocated_cents`) is repeated under a CHECK, and `portal ledger check` proves that they agree.
Decided: the database refuses UPDATE and DELETE by trigger; a mistake is corrected by another journal.
"""
