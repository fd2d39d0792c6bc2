"""People and programs that sign in: passwords, roles as data, bearer tokens, API keys.

Decided: a role is held in one tenant; the platform administrator stands above them and acts as a tenant's
administrator.
Decided: sessions of browsers are rows (`sessions`), so that signing out ends one wherever its cookie was copied to.
Decided: wrong passwords count per account and place, never per account alone (`guesses`): no stranger holds a lock.
Decided: bearer tokens are signed, short-lived and tied to the person's session key, so that one UPDATE ends every
session and token of a person, without a table of tokens.
"""
