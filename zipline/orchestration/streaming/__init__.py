"""Streaming jobs on Flink: what one is, how it is started and watched, and how its tiles get into the store.

    jobs     -> of definitions a job: its tables and group-bys, its statements, its topics, its identity
    brokers  -> Kafka as jobs need it    outboxes -> what is written to topics in transactions
    forwarding -> what is posted, and the rows of joins that are aggregated, into topics
    feeds    -> one group-by's tiles, put whole
    progress -> until when all events are in the tiles    running -> who keeps it all going    status -> what is told

A job sends tiles to a topic of its own, and `running` puts the newest of each into the store. So the store needs no
client in Java, a job is the same whatever the store, and a store that is slow or down holds up nothing but the topic's
reader.
"""
