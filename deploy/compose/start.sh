#!/bin/sh
# Starts the composed stack and waits until it is ready: secrets if there are none yet, the image
# if there is none yet, then `docker compose up`. Arguments go there, as --scale project=2.
set -eu
cd "$(dirname "$0")"
docker=${DOCKER:-docker}
image=${WM_IMAGE:-$(sed -n 's/^ *image: ${WM_IMAGE:-\(.*\)}$/\1/p' compose.yaml | head -1)}

./secrets.sh "${WM_SECRETS:-secrets}"
if [ -z "${WM_IMAGE:-}" ] && ! "$docker" image inspect "$image" >/dev/null 2>&1; then
  ../docker/build.sh "$image"
fi
exec "$docker" compose up --detach --wait --wait-timeout 300 "$@"
