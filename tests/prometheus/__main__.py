"""`make prometheus`: the programs that rules and dashboards are tested with, found or fetched."""

from __future__ import annotations

import dataclasses
import sys

from prometheus.binaries import NoPrometheus, get_binaries


def main() -> None:
    try:
        for path in dataclasses.astuple(get_binaries()):
            print(path)
    except NoPrometheus as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
