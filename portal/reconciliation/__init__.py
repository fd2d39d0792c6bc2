"""Our books against M-Pesa's own records: every row finds its bucket, and the buckets add up.

`files` and `sheets` open what people upload, `statements` reads its layout by its content, `rows` judges one row,
`runs` does all of them, and `review` is what people do with the differences.

What holds:
- a row is in exactly one bucket: matched, created here, different, missing at M-Pesa, or M-Pesa's own;
- a statement is a draft, and books nothing, until its own totals are checked and an administrator accepts it;
- money that was missing is booked from the row then, and placed by the same rules as any payment by hand;
- one row that cannot be taken stops no other: it is listed with its number;
- the same records again change nothing; a run that was cut off goes on where it stopped.

Decided: a layout is found by its headings and never asked for, because people export what their portal offers.
Decided: a difference is shown to a person with an owner, and never corrected by itself: which side is wrong is theirs
to find out.
"""
