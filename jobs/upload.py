"""Uploads of group-bys as of the end of a day; the arguments are those of `zipline upload`.

python jobs/upload.py GROUP_BY --ds DAY --project FOLDER
"""

from __future__ import annotations

import sys

from zipline.cli.main import execute

if __name__ == "__main__":
    sys.exit(execute(["upload", *sys.argv[1:]]))
