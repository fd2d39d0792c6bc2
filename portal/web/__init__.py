"""What all pages and doors share: headers, languages, error pages, filters, sign-in, the front page.

Decided: pages of one audience live in that audience's room (`staff`, `payer`, `api`, `callbacks`); what two of them
need stands here, and these rooms do not know each other.
"""
