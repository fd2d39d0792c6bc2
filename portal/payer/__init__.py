"""The pages of people who pay: captive portal, `/pay/<token>`, the clinic's front page, `/join/<token>`.

A surface above fulfilment, since one page shows a payment together with what it bought. Nobody signs in here and no
cookie is needed: the token in the address is all there is, so nothing here carries authority over anything else. A
cookie that did come shows that a browser began a purchase, which saves its owner typing the number again.

Decided: one status fragment (`payments/_status.html`) is included by the page and returned by the poll, from one
`view`, so that the two cannot differ.
Decided: what polls is as cheap as it can be: one select by token; 204 where version and phase are those shown.
"""
