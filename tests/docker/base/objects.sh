#!/bin/sh
# The contract of the official image: arguments are those of versitygw; without any, VGW_BACKEND,
# VGW_BACKEND_ARG, VGW_ARGS (before the backend) and VGW_BACKEND_ARGS (after it) make them.
set -eu
[ "$#" -eq 0 ] || exec versitygw "$@"
: "${VGW_BACKEND:?set VGW_BACKEND, as posix, or give arguments}"
# shellcheck disable=SC2086
exec versitygw ${VGW_ARGS:-} "$VGW_BACKEND" ${VGW_BACKEND_ARG:+"$VGW_BACKEND_ARG"} \
  ${VGW_BACKEND_ARGS:-}
