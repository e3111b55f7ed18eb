"""The project's settings: `zipline.toml`, its named environments, and variables that override it.

    name = "flights"
    environment = "dev"                  # the one taken where nothing else says so

    [warehouse]
    url = "warehouse"                    # a folder below the project, or any fsspec URL

    [storage]                            # for s3:// URLs; [storage.options] holds those of other schemes, as they are
    endpoint_url = "http://127.0.0.1:9000"

    [tables.flights]                     # a source that lies outside the warehouse
    path = "data/flights.csv.gz"
    null_values = ["", "NA"]

    [tables.orders]                      # a table of the catalog of a Spark session
    catalog = "sales.orders"

    [spark]                              # `zipline backfill --engine spark`
    master = "local[*]"                  # or spark://host:7077, yarn, k8s://...
    [spark.settings]                     # of the session, as they are
    spark.driver.memory = "8g"

    [stream]
    engine = "flink"                     # who writes tiles: `zipline stream`; else the server and `zipline stream` do

    [flink]                              # its jobs
    cluster = "http://jobs:8081"         # without it a mini cluster on this machine
    [flink.settings]                     # of the job, as they are
    execution.checkpointing.timeout = "2 min"

    [serve]                              # `zipline serve`
    port = 8080
    tokens = "tokens.toml"               # who may ask; without it only this machine

    [environments.prod]
    table_prefix = ""
    key_prefix = "prod:"
    [environments.prod.warehouse]
    url = "s3://lake/flights"

A setting is taken from the first that has it: the variable `ZIPLINE_<SECTION>_<KEY>` (secrets belong there:
`ZIPLINE_STORAGE_SECRET_ACCESS_KEY`), the environment's section, the section, the default. Unknown keys are errors.
Without a file the project is the current folder, and everything lies in its `.zipline/`. Standard library only.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from zipline import flink_settings, serve_settings, spark_settings, table_settings
from zipline.errors import Location, ProjectError
from zipline.flink_settings import Flink, WrongFlink
from zipline.serve_settings import Serve, WrongSetting
from zipline.spark_settings import Spark
from zipline.table_settings import TableSettings as TableSettings
from zipline.values import dataclass

FILE = "zipline.toml"
EMBEDDED = ".zipline"
ENGINES = ("local", "flink")
"""For streams."""
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
"""Of brokers, in any case of letters."""
STORES = ("lmdb", "redis", "cassandra", "memory")

_DEFAULTS: dict[str, dict[str, str]] = {
    "project": {"configs": "configs", "name": ""},
    "warehouse": {"url": f"{EMBEDDED}/warehouse"},
    "storage": dict.fromkeys(
        ("endpoint_url", "region", "access_key_id", "secret_access_key", "session_token", "anonymous"), ""
    ),
    "online": {"store": "lmdb", "url": f"{EMBEDDED}/online", "username": "", "password": ""},
    "brokers": {"servers": "", "security_protocol": "", "username": "", "password": ""},
    "registry": {"url": f"sqlite:///{EMBEDDED}/registry.db"},
    "spark": spark_settings.DEFAULTS,
    "stream": {"engine": "local"},
    "flink": flink_settings.DEFAULTS,
    "serve": serve_settings.DEFAULTS,
}
_FREE = {"storage": "options", "spark": "settings", "flink": "settings"}
"""Sections with one below them whose keys are not ours."""
_TOP = ("name", "configs", "environment")
_SECRETS = ("secret_access_key", "session_token", "password")
_URL_SECRET = re.compile(r"(://[^:/@]*:)[^@/]+(?=@)|(;token=)[^;]+")
_MASK = "********"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of `zipline doctor`: secrets are masked."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class OnlineStore:
    store: str = "lmdb"
    url: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Brokers:
    servers: str = ""
    security_protocol: str = ""
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Project:
    """Where a project's data are, in one environment. `warehouse` is an absolute path or a URL."""

    root: Path
    name: str
    warehouse: str
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)
    configs: str = "configs"
    environment: str = "default"
    table_prefix: str = ""
    key_prefix: str = ""
    online: OnlineStore = OnlineStore()
    brokers: Brokers = Brokers()
    registry: str = field(default="", repr=False)
    spark: Spark = Spark()
    stream_engine: str = "local"
    flink: Flink = Flink()
    serve: Serve = Serve()
    tables: Mapping[str, TableSettings] = field(default_factory=dict)
    file: Path | None = None
    settings: tuple[Setting, ...] = field(default=(), repr=False)

    def table_uri(self, table: str) -> str:
        """Where the environment keeps the output table of that name."""
        return f"{self.warehouse.rstrip('/')}/{self.table_prefix}{table}"

    def describe(self) -> list[Setting]:
        """Every setting, its value and where it comes from, for people: secrets are masked."""
        return list(self.settings)


def load_project(start: Path | str | None = None, environment: str | None = None) -> Project:
    """The project whose `zipline.toml` lies in `start` (default: the current folder) or in a parent of it.

    `environment` wins over the variable ZIPLINE_ENVIRONMENT and over the file's own choice. ProjectError where a key,
    a value or an environment is unknown.
    """
    folder = Path(start or os.curdir).absolute()
    if not folder.exists():
        raise ProjectError(f"there is no folder {folder}", hint="start in the project's folder")
    file = folder if folder.is_file() else next(_files_above(folder), None)
    root = file.parent if file else folder
    return _Settings(file, os.environ, environment).project(root)


def strange_variables(variables: Iterable[str]) -> list[str]:
    """The variables that look like settings and belong to no section; kernels have variables of their own."""
    sections = "|".join(section.upper() for section in _DEFAULTS)
    known = re.compile(rf"ZIPLINE_(ENVIRONMENT|KERNELS?_.*|({sections})_.*)")
    return sorted(v for v in variables if v.startswith("ZIPLINE_") and not known.fullmatch(v))


def _files_above(folder: Path) -> Iterator[Path]:
    for parent in (folder, *folder.parents):
        if (parent / FILE).is_file():
            yield parent / FILE


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise ProjectError(f"{file} cannot be read: {wrong}", hint=f"{FILE} is TOML in UTF-8") from None


class _Settings:
    """The file, the variables and the choice of environment, resolved key by key."""

    def __init__(self, file: Path | None, variables: Mapping[str, str], environment: str | None) -> None:
        self.file = file
        self.variables = variables
        self.text = _text(file) if file else ""
        self.content = self._parse()
        self.environments = self._section(self.content, "environments")
        self._check_keys()
        self._check_variables()
        self.environment, self.chosen_by = self._choose(environment)
        self.own = self._section(self.environments, self.environment)
        self.rows: list[Setting] = []

    def project(self, root: Path) -> Project:
        self.rows.append(Setting("environment", self.environment, self.chosen_by))
        resolved = {section: self._resolve(section) for section in _DEFAULTS}
        prefixes = {key: self._prefix(key) for key in ("table_prefix", "key_prefix")}
        self._check_apart()
        online, storage = resolved["online"], resolved["storage"]
        if online["store"] not in STORES:
            raise self._wrong(
                f"there is no online store {online['store']!r}", online["store"], STORES, "store", "online"
            )
        engine = resolved["stream"]["engine"]
        if engine not in ENGINES:
            raise self._wrong(f"no engine for streams is named {engine!r}", engine, ENGINES, "engine", "stream")
        protocol = resolved["brokers"]["security_protocol"]
        if protocol and protocol.upper() not in PROTOCOLS:
            what = f"brokers have no security protocol {protocol!r}"
            raise self._wrong(what, protocol, PROTOCOLS, "security_protocol", "brokers")
        options = {key: value for key, value in storage.items() if value} | self._free("storage")
        online["url"] = _absolute(root, online["url"]) if online["store"] == "lmdb" else online["url"]
        return Project(
            root=root,
            name=resolved["project"]["name"] or root.name,
            warehouse=_absolute(root, resolved["warehouse"]["url"]),
            storage_options=MappingProxyType(options),
            configs=resolved["project"]["configs"],
            environment=self.environment,
            **prefixes,
            online=OnlineStore(**online),
            brokers=Brokers(**resolved["brokers"]),
            registry=_absolute_sqlite(root, resolved["registry"]["url"]),
            spark=self._spark(root, resolved["spark"]),
            stream_engine=resolved["stream"]["engine"],
            flink=self._flink(root, resolved["flink"]),
            serve=self._serve(root, resolved["serve"]),
            tables=MappingProxyType(self._tables()),
            file=self.file,
            settings=tuple(self.rows),
        )

    def _parse(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as wrong:
            line = re.search(r"at line (\d+)", str(wrong))
            where = Location(str(self.file), int(line.group(1)) if line else 1)
            raise ProjectError(f"{FILE} is not TOML: {wrong}", where=where) from None

    def _section(self, content: Mapping[str, Any], name: str, above: str = "") -> dict[str, Any]:
        section = content.get(name, {})
        if not isinstance(section, dict):
            place = f"{above}.{name}" if above else name
            raise self._wrong(f"{place!r} is a section: write [{place}]", None, (), name, above)
        return section

    def _check_keys(self) -> None:
        sections = [section for section in _DEFAULTS if section != "project"]
        self._check_names(self.content, (*_TOP, *sections, "tables", "environments"), "")
        self._check_sections(self.content, "")
        for name in self._section(self.content, "tables"):
            given = self._section(self.content["tables"], name, "tables")
            self._check_names(given, table_settings.KEYS, f"tables.{name}")
            self._check_table(name, given)
        for name in self.environments:
            own = self._section(self.environments, name, "environments")
            self._check_names(own, ("table_prefix", "key_prefix", *sections), f"environments.{name}")
            self._check_sections(own, f"environments.{name}.")

    def _check_sections(self, content: Mapping[str, Any], above: str) -> None:
        for section in _DEFAULTS:
            valid = (*_DEFAULTS[section], *(name for place, name in _FREE.items() if place == section))
            self._check_names(self._section(content, section, above.rstrip(".")), valid, above + section)

    def _check_names(self, given: Mapping[str, Any], valid: tuple[str, ...], section: str) -> None:
        for key in given:
            if key not in valid:
                place = f"[{section}]" if section else FILE
                raise self._wrong(f"{place} has no key {key!r}", key, valid, key, section)

    def _check_variables(self) -> None:
        for variable in self.variables:
            section, _, key = variable.removeprefix("ZIPLINE_").lower().partition("_")
            if variable.startswith("ZIPLINE_") and section in _DEFAULTS and key not in _DEFAULTS[section]:
                valid = [_variable(section, known) for known in _DEFAULTS[section]]
                raise ProjectError(f"the variable {variable} sets nothing", asked=variable, valid=valid)

    def _choose(self, asked: str | None) -> tuple[str, str]:
        first = next(iter(self.environments), "default")
        choices = (
            (asked, "the argument"),
            (self.variables.get("ZIPLINE_ENVIRONMENT"), "ZIPLINE_ENVIRONMENT"),
            (self.content.get("environment"), FILE),
            ("dev" if "dev" in self.environments else first, "default"),
        )
        name, source = next((str(name), source) for name, source in choices if name)
        if name not in self.environments and (self.environments or name != "default"):
            valid = list(self.environments) or ["default"]
            hint = f"add a section [environments.{name}] to {FILE}"
            raise ProjectError(f"there is no environment {name!r}", asked=name, valid=valid, hint=hint)
        return name, source

    def _resolve(self, section: str) -> dict[str, str]:
        return {key: self._value(section, key) for key in _DEFAULTS[section]}

    def _value(self, section: str, key: str) -> str:
        shared = self.content if section == "project" else self._section(self.content, section)
        variable = _variable(section, key)
        if variable in self.variables:
            return self._kept(section, key, self.variables[variable], variable)
        own = self._section(self.own, section)
        if key in own:
            return self._kept(section, key, own[key], f"[environments.{self.environment}.{section}]")
        if key in shared:
            return self._kept(section, key, shared[key], FILE)
        return self._kept(section, key, _DEFAULTS[section][key], "default")

    def _kept(self, section: str, key: str, value: object, source: str) -> str:
        if isinstance(value, bool):
            value = str(value).lower()
        if section in ("serve", "flink") and isinstance(value, (int, float)):
            value = str(value)
        if isinstance(value, list) and key == "servers" and all(isinstance(each, str) for each in value):
            value = ",".join(value)
        if not isinstance(value, str):
            raise self._wrong(f"{section}.{key} is text, not {value!r}", None, (), key, section)
        if not value and _DEFAULTS[section][key]:
            raise ProjectError(f"{section}.{key} is empty, by {source}", hint="leave it out to have the default")
        shown = _MASK if key in _SECRETS and value else _URL_SECRET.sub(rf"\1\2{_MASK}", value)
        self.rows.append(Setting(f"{section}.{key}", shown, source))
        return value

    def _prefix(self, key: str) -> str:
        mark = "_" if key == "table_prefix" else ":"
        named = f"{self.environment}{mark}" if self.environments else ""
        value = self.own.get(key, named)
        if not isinstance(value, str):
            raise self._wrong(f"{key} is text, not {value!r}", None, (), key, f"environments.{self.environment}")
        self.rows.append(Setting(key, value, FILE if key in self.own else "default"))
        return value

    def _check_apart(self) -> None:
        """Two environments must not write the same tables."""
        places: dict[tuple[Any, Any], str] = {}
        for name in self.environments:
            own = self._section(self.environments, name)
            url = self._section(own, "warehouse").get("url")
            place = (url or self._section(self.content, "warehouse").get("url"), own.get("table_prefix", f"{name}_"))
            other = places.setdefault(place, name)
            if other != name:
                raise self._wrong(
                    f"the environments {other!r} and {name!r} would write the same tables: they have one warehouse "
                    f"and the table_prefix {place[1]!r}",
                    None,
                    (),
                    "table_prefix",
                    f"environments.{name}",
                )

    def _free(self, section: str) -> dict[str, str]:
        """What stands below a section, as it is: that of the environment last."""
        name = _FREE[section]
        given = [self._section(self._section(above, section), name, section) for above in (self.content, self.own)]
        found = {key: value for each in given for key, value in spark_settings.flat(each).items()}
        for key, value in found.items():
            is_shown = section in ("spark", "flink") and not spark_settings.is_secret(key)
            self.rows.append(Setting(f"{section}.{name}.{key}", value if is_shown else _MASK, FILE))
        return found

    def _spark(self, root: Path, given: Mapping[str, str]) -> Spark:
        scratch = _absolute(root, given["scratch"]) if given["scratch"] else ""
        places = {**given, "scratch": scratch}
        spark = Spark(**places, settings=MappingProxyType(self._free("spark")))
        wrong = spark_settings.first_wrong(spark)
        if wrong is not None:
            what, key, valid = wrong
            raise self._wrong(what, None, valid, key, "spark")
        return spark

    def _flink(self, root: Path, given: Mapping[str, str]) -> Flink:
        try:
            return flink_settings.parsed({**given, "state": _absolute(root, given["state"])}, self._free("flink"))
        except WrongFlink as wrong:
            raise self._wrong(str(wrong), None, wrong.valid, wrong.key, "flink") from None

    def _serve(self, root: Path, given: Mapping[str, str]) -> Serve:
        tokens = _absolute(root, given["tokens"]) if given["tokens"] else ""
        try:
            return serve_settings.parsed(
                {**given, "tokens": tokens, "log_folder": _absolute(root, given["log_folder"])}
            )
        except WrongSetting as wrong:
            raise self._wrong(str(wrong), None, (), wrong.key, "serve") from None

    def _check_table(self, name: str, given: Mapping[str, Any]) -> None:
        wrong = table_settings.first_wrong(given, f"tables.{name}")
        if wrong is not None:
            what, key, valid = wrong
            raise self._wrong(what, None, valid, key or name, f"tables.{name}" if key else "tables")

    def _tables(self) -> dict[str, TableSettings]:
        found = {n: table_settings.settings_of(given) for n, given in self._section(self.content, "tables").items()}
        self.rows += [Setting(f"tables.{name}", table.place, FILE) for name, table in found.items()]
        return found

    def _wrong(self, what: str, asked: str | None, valid: tuple[str, ...], key: str, section: str) -> ProjectError:
        where = Location(str(self.file), _line(self.text, section, key)) if self.file else None
        return ProjectError(what, where=where, asked=asked, valid=valid)


def _line(text: str, section: str, key: str) -> int:
    """The line of a key in a section of the file, else that of the section, else the first."""
    current, found = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^\[\]]+)\]", line)
        if header:
            current = header.group(1).replace('"', "").strip()
            if current in (section, f"{section}.{key}".lstrip(".")):
                found = number
        elif current == section and re.match(rf"\s*\"?{re.escape(key)}\"?\s*[=.]", line):
            return number
    return found


def _variable(section: str, key: str) -> str:
    return f"ZIPLINE_{section}_{key}".upper()


def _absolute(root: Path, location: str) -> str:
    if location.startswith("file://"):
        location = unquote(location.removeprefix("file://"))
    if "://" in location:
        return location.rstrip("/")
    return os.path.abspath(root / Path(location).expanduser())


def _absolute_sqlite(root: Path, url: str) -> str:
    path = url.removeprefix("sqlite:///")
    return url if path == url or path.startswith(("/", ":")) else f"sqlite:///{root / path}"
