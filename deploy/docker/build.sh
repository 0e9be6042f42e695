#!/usr/bin/env bash
# Builds the image and writes its bill of materials beside the other things that are built:
#
#   deploy/docker/build.sh [IMAGE [options of docker build]]
#
# IMAGE: default workspace:VERSION. From the environment: BASE_IMAGE, TARGET, SBOM (the file;
# empty: none), DOCKER (the program), and for registries PIP_CERT or SSL_CERT_FILE (authorities),
# PIP_CONFIG_FILE, HTTP_PROXY, HTTPS_PROXY, NO_PROXY. They are secrets of the build or arguments
# that Docker keeps out of the history.
set -euo pipefail
cd "$(dirname "$0")/../.."

docker=${DOCKER:-docker}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml | head -1)
image=${1:-workspace:$version}
sbom=${SBOM-build/sbom.cdx.json}
revision=$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || true)

options=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision")
for name in BASE_IMAGE TARGET HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
  [ -z "${!name:-}" ] || options+=(--build-arg "$name")  # the value is read by docker
done
authorities=${PIP_CERT:-${SSL_CERT_FILE:-}}
[ -z "$authorities" ] || options+=(--secret "id=ca,src=$authorities")
[ -z "${PIP_CONFIG_FILE:-}" ] || options+=(--secret "id=pip,src=$PIP_CONFIG_FILE")

export DOCKER_BUILDKIT=1
build() { "$docker" build -f deploy/docker/Dockerfile "${options[@]}" "$@" .; }
build --target image -t "$image" "${@:2}"
if [ -n "$sbom" ]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
  build --target sbom --output "$out" "${@:2}"
  mkdir -p "$(dirname "$sbom")"
  cp "$out/sbom.cdx.json" "$sbom"
  echo "$image; its bill of materials: $sbom"
fi
