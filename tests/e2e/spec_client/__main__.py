"""Entry point: `python -m spec_client COMMAND`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
