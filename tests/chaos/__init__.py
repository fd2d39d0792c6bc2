"""The chaos proof: real programs, real payers, and everything that can go away goes away while they pay.

Web, workers, scheduler, simulator and Redis run under the product's own supervisor. Meanwhile workers and the
scheduler get SIGKILL, Redis is emptied and killed, the database is stopped, frozen or locked, and callbacks come
twice, late and out of order. Afterwards every shilling that M-Pesa moved must be here once, and every paid package
be open once.

Decided: nothing of the product is replaced or told that this is a test. Only at the very end does this process do
what the sweeper would do minutes later, with its own clock moved: nobody waits two minutes for a time limit.
Decided: everything is started and stopped from the main thread, because Linux sends a child its parent-death signal
when the thread that started it ends.
Decided: money is compared with the simulator's own file, read-only, not with what its doors say.
"""
