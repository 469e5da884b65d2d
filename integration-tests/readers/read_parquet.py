#!/usr/bin/env python3
"""Prints the rows of Parquet files as JSON lines, as pyarrow reads them.

usage: read_parquet.py [--metadata] FILE...

With --metadata one line a file instead: its key-value metadata and, for each column, its type.
"""

import json
import sys

import pyarrow.parquet as parquet


def metadata(path):
    file = parquet.ParquetFile(path)
    pairs = file.metadata.metadata or {}
    return {
        "metadata": {key.decode(): value.decode() for key, value in pairs.items()},
        "columns": {field.name: str(field.type) for field in file.schema_arrow},
        "rows": file.metadata.num_rows,
    }


def main(arguments):
    wants_metadata = "--metadata" in arguments
    paths = [argument for argument in arguments if argument != "--metadata"]
    if not paths:
        sys.exit(__doc__)
    for path in paths:
        rows = [metadata(path)] if wants_metadata else parquet.read_table(path).to_pylist()
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main(sys.argv[1:])
