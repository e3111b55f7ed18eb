"""The language of a feature author: frozen definitions, checked when made; standard library only.

Contract: constructing a definition either gives a valid frozen value or raises DefinitionError with the author's file
and line. Nothing here reads a table, a clock or a file.
"""

from zipline.api.checks import Check
from zipline.api.group_by import Aggregation, Derivation, GroupBy
from zipline.api.join import BootstrapPart, Contextual, Join, JoinPart, LabelPart
from zipline.api.operations import Accuracy, Operation
from zipline.api.sources import (
    EntitySource,
    EventSource,
    ExternalSource,
    JoinSource,
    Query,
    StagingQuery,
    Topic,
)
from zipline.api.team import Model, Resources, Team
from zipline.api.windows import Window

__all__ = [
    "Accuracy",
    "Aggregation",
    "BootstrapPart",
    "Check",
    "Contextual",
    "Derivation",
    "EntitySource",
    "EventSource",
    "ExternalSource",
    "GroupBy",
    "Join",
    "JoinPart",
    "JoinSource",
    "LabelPart",
    "Model",
    "Operation",
    "Query",
    "Resources",
    "StagingQuery",
    "Team",
    "Topic",
    "Window",
]
