"""`python -m storage_svc`: the same as `wm serve --target storage`."""

import sys

from services.cli.main import main

if __name__ == "__main__":
    main(["serve", "--target", "storage", *sys.argv[1:]])
