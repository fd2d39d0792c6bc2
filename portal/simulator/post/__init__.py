"""What reaches people beside M-Pesa: an SMS gateway whose messages arrive on the handsets, and a mailbox for e-mail.

Decided: the gateway speaks Africa's Talking's wire shapes and the mailbox SMTP, so that the product sends as it does
in production and knows nothing of a simulator.
"""
