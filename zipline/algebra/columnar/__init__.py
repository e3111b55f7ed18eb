"""The operations over columns: what `zipline.algebra` does a row at a time, scheduled over sorted arrays.

Events lie in runs, one per key, each in canonical order (t, known_at, value); queries lie in the order of runs and
times. `spans` says for every query which events enter and leave since the query before; a kernel per family of
operations walks the spans and writes one result per query. Nothing here knows a table, a definition or an engine.

Kernels are compiled once and cached on disk; they release the interpreter lock, so features run side by side.
"""
