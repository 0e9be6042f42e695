#!/bin/sh
# pip with what the machine that builds says of registries: build secrets, never in a layer.
set -eu
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
[ ! -s /run/secrets/ca ] || export PIP_CERT=/run/secrets/ca
[ ! -s /run/secrets/pip ] || export PIP_CONFIG_FILE=/run/secrets/pip
exec python3 -m pip "$@"
