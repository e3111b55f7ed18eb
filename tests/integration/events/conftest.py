from tests.integration.servers.kafka import kafka_servers  # noqa: F401
from tests.integration.stores.opened import opening, redis_url  # noqa: F401
