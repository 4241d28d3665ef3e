"""`python -m flowrl` is the command `flowrl`."""

import sys

from flowrl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
