"""Events from outside, without a cluster: into the tiles of group-bys within milliseconds, into the warehouse for good.

A *source* is known by the name of its table; its events are raw rows of that table. Everything is a follower of a log:
what is posted is first written to the journal of its source, and the journal, a file and a topic of Kafka are read in
one way. How far a follower has read is kept with what it made of that, in one transaction: beside the tiles of each
group-by, and in the log of the warehouse's Delta table.

    sources, tables -> which tables take events, and which group-bys see them    intake  -> JSON checked, as Arrow
    enriching -> the rows of joins, made of the events of their lefts
    journal -> durable lines    logs, kafka -> how logs are read          seen    -> ids of events
    tiling  -> one group-by's tiles     appending -> one table's rows     stream  -> who calls whom, and when
    posting -> what a server calls
"""
