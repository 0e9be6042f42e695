"""`python -m identity_svc`: the same as `wm serve --target identity`."""

import sys

from services.cli.main import main

if __name__ == "__main__":
    main(["serve", "--target", "identity", *sys.argv[1:]])
