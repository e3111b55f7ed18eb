from tests.integration.servers.redis import redis_url  # noqa: F401
from tests.integration.stores.opened import opening  # noqa: F401
