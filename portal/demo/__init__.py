"""The demonstration: the whole product with made-up data and the simulator beside it. Never part of production."""
