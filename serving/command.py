"""`zipline serve`: the command. What it starts is imported when it runs, so that the help stays quick."""

from __future__ import annotations

import os
import tempfile
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.options import load_definitions, open_project, project_options
from zipline.cli.screen import plural, print_json
from zipline.errors import DefinitionError, ProjectError, UsageError

if TYPE_CHECKING:
    from zipline.project import Project
    from zipline.serve_settings import Serve

_MISSING = "the feature server needs packages that are not installed"


@click.command("serve")
@click.option("--host", help="The address to listen on (default: 127.0.0.1, which only this machine reaches).")
@click.option("--port", type=click.IntRange(0, 65535), help="The port (default: 8080; 0: a free one).")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that answer, sharing one store (default: 1).")
@click.option("--tokens", metavar="FILE", help="Who may ask for what; needed for any address but loopback.")
@click.option("--new-token", metavar="NAME", help="Add a token to --tokens, print it once, and end.")
@click.option("--scope", "scopes", multiple=True, metavar="TEAM:VERB", help="Of the new token: flights:read, *:write.")
@project_options
def command(
    host: str | None,
    port: int | None,
    workers: int | None,
    tokens: str | None,
    new_token: str | None,
    scopes: tuple[str, ...],
    project: str | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Answer requests for features over HTTP.

    Serves every join with online=True: POST /v1/features/{join} with {"rows": [{key: value}]}. What is served is taken
    up anew when its files change. /openapi.json describes it, /metrics counts, /v2/health/ready says whether it is
    ready. Other settings are in [serve] of zipline.toml.

    \b
    Example:
      zipline serve --port 8080
      curl http://127.0.0.1:8080/v1/joins
    """
    opened = open_project(project, environment)
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "workers": workers,
        "tokens": tokens and os.path.abspath(tokens),
    }
    settings = replace(opened.serve, **{name: value for name, value in given.items() if value is not None})
    if new_token is not None:
        _add_token(settings, new_token, scopes, as_json=as_json)
        return
    if scopes:
        raise UsageError("--scope belongs to a new token", hint="add --new-token NAME")
    try:
        import fastapi as fastapi
        import prometheus_client as prometheus_client
        import uvicorn as uvicorn
    except ModuleNotFoundError as wrong:
        raise ProjectError(f"{_MISSING}: {wrong.name}", hint="pip install 'zipline-features[serve]'") from None
    _check(opened, settings)
    _serve(opened, settings, as_json=as_json)


def _add_token(settings: Serve, name: str, scopes: tuple[str, ...], *, as_json: bool) -> None:
    from serving.access import new_token

    if not settings.tokens:
        raise UsageError("a token is kept in a file", hint="write --tokens FILE, or tokens = FILE in [serve]")
    text = new_token(settings.tokens, name, scopes)
    if as_json:
        print_json({"name": name, "token": text, "file": settings.tokens})
        return
    click.echo(text)
    click.echo(f"kept as a hash in {settings.tokens}: this is the only time that it is shown", err=True)


def _check(project: Project, settings: Serve) -> None:
    """Before anything listens: the access, and the definitions."""
    from serving.access import load_tokens

    if settings.tokens:
        load_tokens(settings.tokens)
    elif not settings.is_loopback:
        raise ProjectError(
            f"{settings.host} can be reached by others, and nothing says who may ask",
            hint="give a file of tokens, or listen on 127.0.0.1",
            next_command="zipline serve --new-token NAME --scope 'TEAM:read' --tokens tokens.toml",
        )
    if not any(join.online for join in load_definitions(project).joins):
        raise DefinitionError("no join is online: there is nothing to serve", hint="say online=True of a join")


def _serve(project: Project, settings: Serve, *, as_json: bool) -> None:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from serving.worker import variables

    os.environ.update(variables(project, settings))
    with tempfile.TemporaryDirectory(prefix="zipline-metrics-") as folder:
        if settings.workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        config = uvicorn.Config(
            "serving.worker:worker",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            loop="uvloop",
            http="httptools",
            ws="none",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            log_level="warning",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=30,
        )
        listening = config.bind_socket()
        _warm_up()
        listening.listen(config.backlog)  # who calls before a worker is there waits for it
        url = _url(settings.host, listening.getsockname()[1])
        if as_json:
            print_json({"url": url, "workers": settings.workers})
        else:
            click.echo(f"serving {project.name} on {url} with {plural(settings.workers, 'worker')}")
        if settings.workers > 1:
            Multiprocess(config, [listening]).run()
        else:
            uvicorn.Server(config).run(sockets=[listening])


def _warm_up() -> None:
    """Kernels are compiled before anybody asks: while a worker compiles one, it answers nobody."""
    from zipline.algebra.columnar.kernel import NOTICE, warm_up
    from zipline.algebra.columnar.rehearsal import ONLINE

    said = threading.Timer(1.0, lambda: click.echo(NOTICE, err=True))
    said.start()
    try:
        warm_up(scenes=[ONLINE])
    finally:
        said.cancel()


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
