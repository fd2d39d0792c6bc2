"""Internet sold by a code: made in batches and printed, or made at the counter; redeemed once, for one pass.

Decided: a code is 9 of 31 letters and digits that nobody mistakes for others (no 0 O 1 I L): 44 bits, shown in threes,
typed in any case with or without blanks and dashes. It is user name and password in one.
Decided: a printed code opens without having been noted as sold: whoever holds it has paid somebody. What nobody bought
is voided, or expires by its shelf life. The clock starts when it is redeemed, on the portal's page or by RADIUS.
Decided: what is sold at the counter is a payment by cash like any other, so that one ledger has all money; a sale that
is taken back there ends what its code opened. A drawer is opened with what lies in it and closed by a blind count: who
counts is told what should be there only after they said what is. Its report is numbered and never changes.
"""
