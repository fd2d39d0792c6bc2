"""A customer's pass: what is left of it, whose it is, and the devices that it is used on.

A pass is a chain of grants with one leader. It belongs to the number that paid for it, or to who knows its code; a MAC
address belongs to nobody, for phones make new ones as they like and anybody can copy one.
Decided: a pass has as many places as its package has devices. Who shows the number or the code takes a place with
whatever device they hold; where all are taken, the place of the longest unused one, which is dropped (three times a
day: a pass is not to wander through a whole street).
Decided: what is left is summed from the accounting when it is asked for, never counted along.
"""
