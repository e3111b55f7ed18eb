"""One value explained: the source events behind it, and what was left out and why.

`contract` says what an explanation holds; `questions` what is asked of one source, `statements` and `evidence` judge
the source rows of one key in one DuckDB query, `changes` those of an entity with mutations, `parents` computes those of
a join; `gathering` does so for all sources. `values` has the engine compute the value over the few rows in question and
computes it again in plain Python, `contributions` says what each event did, `notes` what else is to be said. `parts`
puts these together for one column of a group-by; `joins` finds the column in a join and follows derivations, left
columns, bootstrap and requests. `text` and `page` write it down; `warm` keeps what was read.
"""
