"""The doors behind the stage: faults, clock, phones, organisations, hand-made callbacks."""
