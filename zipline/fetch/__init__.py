"""The online read path: what is asked for at request time.

`external` asks the sources outside the platform, each within its own time limit.
"""
