from tests.integration.servers.cassandra import cassandra_address, cassandra_client  # noqa: F401
from tests.integration.servers.kafka import kafka_servers  # noqa: F401
from tests.integration.servers.redis import redis_url  # noqa: F401
from tests.integration.stores.opened import empty_cassandra, empty_redis, opening  # noqa: F401
