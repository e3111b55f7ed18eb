"""What is asked of a server seldom: which joins there are, whether it is ready, its counters, its OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from serving.access import Access
from serving.features.metrics import Metrics
from serving.features.openapi import with_joins
from serving.features.served import Definitions, Served, ServedJoin
from serving.problems import Problem
from zipline.clock import to_text
from zipline.stores.contract import PlaceError, Store, StoreError

ASKED_BY_POST = ("/v1/features/{join}", "/v1/events/{source}", "/v1/models/{name}/predict")
"""What is asked often is answered without this application."""
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def control_plane(
    definitions: Definitions, store: Store, access: Callable[[], Access], metrics: Metrics, lifespan: Lifespan
) -> FastAPI:
    """The application."""
    app = FastAPI(title="zipline", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    _health(app, definitions, store)
    _facts(app, definitions, store, access, metrics)
    _failures(app)

    @app.get("/openapi.json", include_in_schema=False)
    def document(request: Request) -> JSONResponse:
        """What whoever asks may do here, and how."""
        plain = get_openapi(title=app.title, version=app.version, routes=app.routes)
        told, has_tokens = access().told(request.headers.raw), not access().is_open
        return JSONResponse(with_joins(plain, definitions.current, told, has_tokens=has_tokens))

    return app


def _health(app: FastAPI, definitions: Definitions, store: Store) -> None:
    @app.get("/v2/health/live", tags=["health"])
    def live() -> dict[str, bool]:
        """Whether the process answers."""
        return {"live": True}

    @app.get("/v2/health/ready", tags=["health"], responses={503: {"description": "Not ready: the reasons"}})
    def ready() -> JSONResponse:
        """Whether features can be asked for: the definitions are loaded and the store is there.

        A group-by that cannot be read while others can is told as a reason, and takes nobody out of service.
        """
        is_ready, reasons = _state(definitions, store)
        return JSONResponse({"ready": is_ready, "reasons": reasons}, 200 if is_ready else 503)


def _state(definitions: Definitions, store: Store) -> tuple[bool, list[str]]:
    """(whether it is ready, what is wrong)."""
    served = definitions.current
    if served is None:
        return False, [definitions.wrong or "the definitions are not loaded yet"]
    damaged: list[str] = []
    for space in dict.fromkeys(space for join in served.joins.values() for space in join.fetch.spaces.values()):
        try:
            store.current(space)
        except PlaceError as wrong:
            damaged.append(wrong.what)
        except StoreError as wrong:
            return False, [wrong.what]
    return True, damaged


def _facts(
    app: FastAPI, definitions: Definitions, store: Store, access: Callable[[], Access], metrics: Metrics
) -> None:
    def seen(request: Request) -> Served:
        """The joins that whoever asks may read."""
        served, found = definitions.served, {}
        for name, join in served.joins.items():
            try:
                access().check(request.headers.raw, "read", [join.team])
            except Problem as problem:
                if problem.status == 401:
                    raise
                continue
            found[name] = join
        if not served.joins:
            access().check(request.headers.raw, "read", [])
        return Served(found, served.digest)

    @app.get("/v1/joins", tags=["features"])
    def joins(request: Request) -> dict[str, Any]:
        """The joins that are served: their keys, features and fingerprints."""
        return {"joins": [_described(join) for join in seen(request).joins.values()]}

    @app.get("/v1/status", tags=["health"])
    def status(request: Request) -> dict[str, Any]:
        """Which definitions are served, and how fresh the uploads are."""
        ages = seen(request).ages(store)
        uploads = {name: None if end is None else to_text(end) for name, end in ages.items()}
        return {"definitions": definitions.wrong or "ok", "uploads": uploads}

    @app.get("/metrics", tags=["health"], response_class=Response)
    def page(request: Request) -> Response:
        """The counters, for Prometheus."""
        access().check(request.headers.raw, "read", ["*"])
        current = definitions.current
        text = metrics.page(lambda: {} if current is None else current.ages(store))
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _described(join: ServedJoin) -> dict[str, Any]:
    required = set(join.reader.keys)
    request = [{"name": name, "type": str(dtype), "required": name in required} for name, dtype in join.reader.given]
    features = [{"name": name, "type": str(dtype)} for name, dtype in join.fetch.columns]
    return {"name": join.name, "fingerprint": join.fetch.plan.fingerprint, "request": request, "features": features}


def _failures(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def told(_: Request, problem: Problem) -> Response:
        headers = {name.decode(): value.decode() for name, value in problem.headers()}
        return Response(problem.body(), problem.status, headers)

    @app.exception_handler(404)
    async def unknown(request: Request, _: Exception) -> Response:
        known = sorted({getattr(route, "path", "") for route in request.app.routes} | set(ASKED_BY_POST))
        problem = Problem(404, "not_found", "there is nothing under this path", valid=known)
        return Response(problem.body(), 404, media_type="application/json")
