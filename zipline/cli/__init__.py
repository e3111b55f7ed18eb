"""The command line: one module for each command, imported when it is asked for.

A command parses its arguments, calls the packages below and shows what they give back, as text or with `--json` as
facts. What is done lies below; nothing here decides it.
"""
