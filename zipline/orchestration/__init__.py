"""Work in ranges of days: what a plan reads of its tables, and a backfill that runs, checks and publishes in steps."""
