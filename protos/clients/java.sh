#!/usr/bin/env bash
# What is committed of the Java client besides what is written by hand: protos/clients/java.sh
# [FOLDER], default protos/gen/java. The hashes of what Maven generates and compiles there, and
# the retry policy. Needs the .venv (`make`), Java and Maven. Running it again changes nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
artifact=$PWD/protos/gen/java
mkdir -p "${1:-$artifact}"
out=$(cd "${1:-$artifact}" && pwd)

[ -x .venv/bin/python ] || { echo "java.sh: .venv is missing: run 'make types' once" >&2; exit 1; }
for need in java mvn; do
  command -v "$need" >/dev/null || { echo "java.sh: $need is missing: install Java 17 and Maven" >&2; exit 1; }
done

if [ "$out" != "$artifact" ]; then
  cp "$artifact/pom.xml" "$out/"
  mkdir -p "$out/src"
  cp -R "$artifact/src/generator" "$out/src/"
fi

for try in 1 2 3; do # Maven Central may not answer at once
  mvn -q -B -Dstyle.color=never -f "$out/pom.xml" -Dprotos="$PWD/protos" generate-sources && break
  [ "$try" -lt 3 ] || { echo "java.sh: mvn generate-sources failed" >&2; exit 1; }
done

.venv/bin/python - "$out" <<'PYTHON'
import hashlib
import json
import sys
from pathlib import Path

from services.rpc.channels import load_service_config

out = Path(sys.argv[1])
generated = out / "target/generated-sources/protobuf"
names = sorted(file.relative_to(generated).as_posix() for file in generated.rglob("*.java"))
lines = [f"{hashlib.sha256((generated / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
(out / "generated.sha256").write_text("".join(lines), encoding="utf-8")

config = json.loads(load_service_config([Path("protos/workspace")]))
resource = out / "src/main/resources/example/workspace/client/service_config.json"
resource.parent.mkdir(parents=True, exist_ok=True)
resource.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
PYTHON
