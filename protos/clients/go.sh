#!/usr/bin/env bash
# go.sh [FOLDER]: generates the Go packages from protos/workspace into FOLDER/workspace,
# by default protos/gen/go. Twice the same is no difference. Needs Go, and buf (buf-bin,
# in the environment of the project or on the PATH).
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
out="${1:-$root/protos/gen/go}"
mkdir -p "$out"
out="$(cd "$out" && pwd)"

PROTOC_GEN_GO=1.36.12
PROTOC_GEN_GO_GRPC=1.6.2

tools="$root/.tools/go-plugins-$PROTOC_GEN_GO-$PROTOC_GEN_GO_GRPC"
export PATH="$tools:$root/.venv/bin:$PATH:/usr/local/go/bin"

install() { # package, version: a plugin of exactly that version
  [ -x "$tools/${1##*/}" ] || GOBIN="$tools" GOFLAGS=-mod=mod go install "$1@v$2"
  case "$("$tools/${1##*/}" --version)" in
    *[v\ ]"$2") ;;
    *) echo "${1##*/} in $tools is not $2: remove that folder" >&2; exit 1 ;;
  esac
}
install google.golang.org/protobuf/cmd/protoc-gen-go "$PROTOC_GEN_GO"
install google.golang.org/grpc/cmd/protoc-gen-go-grpc "$PROTOC_GEN_GO_GRPC"

next="$(mktemp -d "$out/.next.XXXXXX")"
trap 'rm -rf "$next"' EXIT
cd "$root/protos"
buf generate --template clients/go.gen.yaml --path workspace --output "$next"
find workspace -name '*_service_config.json' | while read -r file; do cp "$file" "$next/$file"; done
# What is written by hand lies beside workspace/, so all of workspace/ is replaced.
rm -rf "$out/workspace"
mv "$next/workspace" "$out/workspace"
