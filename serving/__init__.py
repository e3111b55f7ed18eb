"""What answers requests: features by key, and models over them. Stands on `zipline`; of training it may import the
model repository and nothing else.

`features/` is the hot path, in raw ASGI; `control` is everything that is asked seldom, in FastAPI; `access` says who
may ask for what; `worker` puts one process together; `command` is `zipline serve`.
"""
