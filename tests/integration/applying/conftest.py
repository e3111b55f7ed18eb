from tests.integration.servers.kafka import kafka_servers  # noqa: F401
