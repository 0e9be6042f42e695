"""`python -m project_svc` = `wm serve --target project`."""

from services.cli.serve import run_target

run_target("project")
