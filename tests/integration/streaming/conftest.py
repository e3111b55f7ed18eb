from tests.integration.servers.cassandra import cassandra_address  # noqa: F401
from tests.integration.servers.kafka import kafka_servers  # noqa: F401
