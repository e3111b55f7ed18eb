"""The streaming engine: group-bys as Flink SQL, and what of the job is Java.

`java/` is one Maven module, built into `zipline-flink.jar` beside this file, with all that a Flink cluster lacks:

    zipline.flink.events   -> a strict JSON format: what it cannot take is a row that says why, never a failed job
    zipline.flink.algebra  -> the partial of a group-by as an aggregate function, in the very bytes of zipline.algebra
    zipline.flink.tiles    -> a sink that sends the newest partial of every tile, many in a message
    zipline.flink.Main     -> runs a script of SQL
"""
