"""Faults and lengths that tests have no time for, one kind per file; run by soak.py."""
