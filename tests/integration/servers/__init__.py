"""Servers that tests start for themselves, each on a free port of the loopback interface, and stop at the end."""
