#!/usr/bin/env python3
"""Prints the rows of QVD files as JSON lines, as two readers see them that know nothing of each other.

usage: read_qvd.py FILE...

pyqvd (Python) gives the rows; qvdrs (Rust) reads the same file, and the two must agree on every value.
Numbers are numbers, text is text whatever it looks like, a whole number never has a fraction (5, not 5.0).
"""

import json
import sys

import qvd
from pyqvd import QvdTable


def value(cell):
    if cell is None:
        return None
    inner = cell.calculation_value
    if isinstance(inner, float) and inner.is_integer() and abs(inner) < 2**53:
        return int(inner)
    return inner


def rows(path):
    table = QvdTable.from_qvd(path)
    for row in table.data:
        yield dict(zip(table.columns, map(value, row)))


def main(paths):
    if not paths:
        sys.exit(__doc__)
    for path in paths:
        first = list(rows(path))
        second = qvd.read_qvd(path).to_arrow()
        if second.num_rows != len(first):
            sys.exit(f"{path}: pyqvd reads {len(first)} rows, qvdrs {second.num_rows}")
        for number, (row, other) in enumerate(zip(first, second.to_pylist())):
            if row != other:
                sys.exit(f"{path}: row {number}: pyqvd reads {row}, qvdrs {other}")
            print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main(sys.argv[1:])
