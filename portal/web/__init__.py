"""What pages and doors of several audiences share.

Every answer: `language`, `security`, `filters`, `assets`, `errors`, which `app` sets up in this order, and `limits`.
Every visitor: `home`, `signin`, `passwords`. What two audiences do alike: `fields` and `downloads`, `links` that go to
others, a `browser` known again, `start_push` and wait a moment, `pasted_messages`.

Decided: pages of one audience live in that audience's room (`staff`, `payer`, `api`, `callbacks`); what two of them
need stands here, and these rooms do not know each other. What they do to the business stands below, in the room of its
noun, where neither Flask nor the reader's language is known; here it is only asked for and told.
"""
