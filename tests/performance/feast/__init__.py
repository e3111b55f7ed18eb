"""Ours beside Feast, on the same rows in one run: over HTTP, over Redis, and in process.

    make bench-feast

Five group-bys of ten features each, by one integer key, asked for 1 and for 100 keys. Feast reads values that were
computed before. `stored` are our SNAPSHOT group-bys, which do the same; `merged` are TEMPORAL ones, whose windows are
put together from partials and the day's tiles by every fetch, so they do more. Feast is installed into an environment
of its own by `installing`; `theirs` runs there, so it imports nothing of ours but `turns`. Both sides are asked in
turns, after their values were compared.
"""
