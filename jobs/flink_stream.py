"""A streaming job of Flink, kept going, and its tiles put into the store; the arguments are those of `zipline stream`.

    python jobs/flink_stream.py [NAME]... --project FOLDER

With [flink] cluster in zipline.toml the job runs there, else on a mini cluster of this machine: docs/stream.md.
"""

from __future__ import annotations

import sys

from zipline.cli.main import execute

if __name__ == "__main__":
    sys.exit(execute(["stream", *sys.argv[1:], "--engine", "flink"]))
