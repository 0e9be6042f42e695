"""`python -m project_svc`: the same as `wm serve --target project`."""

import sys

from services.cli.main import main

if __name__ == "__main__":
    main(["serve", "--target", "project", *sys.argv[1:]])
