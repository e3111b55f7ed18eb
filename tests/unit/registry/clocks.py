"""A clock that stands still until it is told."""

from dataclasses import dataclass

from zipline.clock import SECOND, to_micros

START = to_micros("2024-05-01T12:00:00Z")


@dataclass
class Clock:
    instant: int = START

    def __call__(self) -> int:
        return self.instant

    def forward(self, seconds: float) -> int:
        self.instant += round(seconds * SECOND)
        return self.instant
