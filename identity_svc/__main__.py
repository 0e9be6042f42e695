from services.cli.serve import run_target

run_target("identity")
