from tests.integration.stores.opened import opening, redis_url  # noqa: F401
