"""The work behind payments: callbacks settled, prompts sent, M-Pesa asked. It stands above the other rooms of money.

`jobs` takes what waits; `sets` settles what fits exactly, by far the most, `callbacks` whatever is odd.
"""
