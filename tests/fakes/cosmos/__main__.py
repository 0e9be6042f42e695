"""`python -m tests.fakes.cosmos PORT CERTIFICATE KEY`"""

from __future__ import annotations

import sys

import uvloop

from tests.fakes.cosmos.server import run

uvloop.run(run(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
