#!/bin/sh
# Makes the secrets of the composed stack in the folder secrets/ (or the one named): those that
# are not there yet. Keep a copy where you keep backups, and nowhere else.
#
#   deploy/compose/secrets.sh [FOLDER]
set -eu
umask 077
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 0700 "$folder"

random() { head -c 30 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n'; }

# NAME TEXT. Processes in containers are other users and have to read the file that is mounted
# into theirs; on this machine the folder keeps everybody else out.
put() {
  [ ! -e "$folder/$1" ] || return 0
  printf '%s\n' "$2" > "$folder/.$1"
  chmod 0444 "$folder/.$1"
  mv "$folder/.$1" "$folder/$1"
}

dsn() {
  printf 'postgresql://%s:%s@postgres:5432/workspace?sslmode=verify-full&sslrootcert=%s' \
    "$1" "$(cat "$folder/$2")" /etc/workspace/trust/ca.crt
}

put postgres_password "$(random)"
put owner_password "$(random)"
put owner_dsn "$(dsn wm_owner owner_password)"
put service_password "$(random)"
put service_dsn "$(dsn wm_service service_password)"
put objects_secret "$(random)"
put objects_credentials "[default]
aws_access_key_id = workspace
aws_secret_access_key = $(cat "$folder/objects_secret")"
