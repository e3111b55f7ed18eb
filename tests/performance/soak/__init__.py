"""A server under load for a while, as uploads and events come: are its answers right, and do time and memory stay?

    python -m tests.performance.soak [SECONDS]

`world` is the project and what its values must be, `load` the callers, who look at every answer, `__main__` the run.
"""
