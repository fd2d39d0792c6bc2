"""What happened, in a chain that nobody can edit quietly.

A row is written in the transaction it describes, without a number. One job per tenant numbers and chains committed
rows afterwards. Decided so because a gapless number taken inside the payment's own transaction would make every
payment of a tenant wait for the one before; the price is that the newest rows are unchained for some seconds, and
`verify` counts them. Rows carry identifiers and amounts, never personal values, so erasing a person breaks no chain.
"""
