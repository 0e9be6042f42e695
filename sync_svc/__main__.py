"""`python -m sync_svc`: the same as `wm serve --target sync`."""

import sys

from services.cli.main import main

if __name__ == "__main__":
    main(["serve", "--target", "sync", *sys.argv[1:]])
