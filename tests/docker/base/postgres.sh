#!/bin/bash
# The settings of the official image that the composed stack uses: POSTGRES_USER,
# POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE, POSTGRES_DB, POSTGRES_INITDB_ARGS, PGDATA, and
# /docker-entrypoint-initdb.d/*.{sh,sql} of the first start. As root it becomes `postgres`.
set -euo pipefail

[ "${1:0:1}" != - ] || set -- postgres "$@"
if [ "$1" != postgres ]; then exec "$@"; fi

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA"
  chown -R postgres "$PGDATA" /var/run/postgresql
  exec setpriv --reuid postgres --regid postgres --init-groups "${BASH_SOURCE[0]}" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=${POSTGRES_USER:-postgres}
  password=${POSTGRES_PASSWORD:-}
  [ -z "${POSTGRES_PASSWORD_FILE:-}" ] || password=$(<"$POSTGRES_PASSWORD_FILE")
  [ -n "$password" ] || { echo "set POSTGRES_PASSWORD_FILE or POSTGRES_PASSWORD" >&2; exit 1; }
  mkdir -p "$PGDATA"
  chmod 0700 "$PGDATA"
  # shellcheck disable=SC2086
  initdb --username "$user" --pwfile <(printf '%s\n' "$password") --auth-local trust \
    --auth-host scram-sha-256 ${POSTGRES_INITDB_ARGS:-} >/dev/null
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  # Until it is all there, nobody beyond this container reaches it.
  pg_ctl -s -w start -o "-c listen_addresses='' -c log_min_messages=warning"
  database=${POSTGRES_DB:-$user}
  [ "$database" = postgres ] || createdb --username "$user" --maintenance-db postgres "$database"
  for file in /docker-entrypoint-initdb.d/*; do
    case "$file" in
      *.sh) bash "$file" ;;
      *.sql) psql -v ON_ERROR_STOP=1 -q --username "$user" --dbname "$database" -f "$file" ;;
    esac
  done
  pg_ctl -s -w -m fast stop
fi
shift
exec postgres -c "listen_addresses=*" "$@"
