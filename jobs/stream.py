"""Events into tiles and into the warehouse, as they come; the arguments are those of `zipline stream`.

python jobs/stream.py TABLE --project FOLDER
"""

from __future__ import annotations

import sys

from zipline.cli.main import execute

if __name__ == "__main__":
    sys.exit(execute(["stream", *sys.argv[1:]]))
