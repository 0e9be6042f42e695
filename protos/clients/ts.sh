#!/usr/bin/env bash
# Generates the TypeScript client: protos/clients/ts.sh [FOLDER], default protos/gen/ts.
# Needs the .venv (`make`), node 20 and npm. Running it again changes nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
clients=$root/protos/clients
package=$root/protos/gen/ts
mkdir -p "${1:-$package}"
out=$(cd "${1:-$package}" && pwd)

for need in .venv/bin/buf .venv/bin/python; do
  [ -x "$need" ] || { echo "ts.sh: $need is missing: run 'make generate' once" >&2; exit 1; }
done
for need in node npm; do
  command -v "$need" >/dev/null || { echo "ts.sh: $need is missing: install Node.js 20 or newer" >&2; exit 1; }
done

# The tools, once for each state of their lock. One process at a time: they share the folder.
tools=$root/.tools/clients-ts
mkdir -p "$tools"
exec 9>"$tools/.lock"
flock 9
if ! cmp -s "$clients/package-lock.json" "$tools/.installed"; then
  rm -f "$tools/.installed"
  cp "$clients/package.json" "$clients/package-lock.json" "$tools/"
  for try in 1 2 3; do
    npm ci --silent --ignore-scripts --prefix "$tools" && break
    [ "$try" -lt 3 ] || { echo "ts.sh: npm ci failed: is the registry reachable?" >&2; exit 1; }
  done
  cp "$clients/package-lock.json" "$tools/.installed"
fi

next=$tools/next
rm -rf "$next" && mkdir -p "$next/third_party/google/rpc" "$next/client"
generate() {
  PATH="$tools/node_modules/.bin:$PATH" "$root/.venv/bin/buf" generate "$1" \
    --template "$clients/ts.gen.yaml" -o "$next/client"
}
generate "$root/protos"
# What the details of an error are made of; nothing of ours imports it.
cp "$("$root/.venv/bin/python" -c 'from google.rpc import error_details_pb2 as e; print(e.__file__[:-len("_pb2.py")])').proto" \
  "$next/third_party/google/rpc/"
generate "$next/third_party"
node "$clients/ts_package.mjs" "$root/protos" "$next/client"

# The hand-written part. What package.json says of modules holds for the compiler, too.
cp "$package/package.json" "$package/retry.ts" "$clients/tsconfig.json" "$next/client/"
node "$tools/node_modules/typescript/bin/tsc" -p "$next/client"
rm "$next/client/tsconfig.json"

for old in buf google workspace service_config.js service_config.d.ts retry.js retry.d.ts; do
  rm -rf "${out:?}/$old"
done
cp -R "$next/client/." "$out/"
rm -rf "$next"
