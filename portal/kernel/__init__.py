"""What everything rests on: time, money, phones, errors, settings, logs, encryption, the database, the queues.

Decided: nothing here knows a business noun, a page or a tenant's rules; what does belongs into the room of that noun.
Modules are small and stand alone, so that a test can use one without an application: of Flask only `ports` knows,
which holds what a process was given, and `db`, through Flask-SQLAlchemy.
"""
