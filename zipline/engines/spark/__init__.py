"""The same plans on Spark: many machines, the same answers to the bit.

Tasks read files, the kernels of the local engine compute, and Spark moves rows between the two. A run is, for the
steps of a plan:

1. the left rows, numbered; the same row has the same number however often it is read (`left`, `file_readings`),
2. for each set of left keys one shuffle: its left rows and all rows of all sources that these keys can see come to the
   partition of their key (`key_sets`), and there `local.assembly.KeySet` computes every part at once (`tasks`),
3. one shuffle more, by the number of the left row, where the parts and the left rows are put together.

There are two ways into a shuffle, and one plan may use both. Tables that are files are read by tasks with the local
engine's statements, a `stretches` of them at a time, and their rows move in `bundles`, which stay in columns from the
file to the kernel. What only Spark can read (DataFrames, views, ORC, outputs of parents), and rows
of which one of an event id counts, is projected and filtered by Spark SQL (`scans`, `lanes`) and moves as rows
(`packing`); so do the rows of hot keys that are condensed first. Both hash a key alike, so all of its rows meet.

A part whose files are mostly older than the days asked for is computed from stored hop partials (`stored_partials`),
which are one more reading of step 2. Tables of the session's catalog are read by `catalog_tables`, outputs made known
there by `published`. What a run will move and sort is foretold by `estimate` from the objects that a run builds.

What a task finds out (counts for the report, errors in the data) travels with its rows (`facts`), so that a task that
is repeated, or run twice at a time, says it once. No row passes through the driver but those of a table asked for.
"""
