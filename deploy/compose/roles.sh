#!/bin/bash
# In the container `postgres`, once: who owns the tables, and who reads and writes rows
# (docs/operations/upgrades.md, "Database users").
psql -v ON_ERROR_STOP=1 --quiet --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" <<'SQL'
\set owner_password `cat /run/secrets/owner_password`
\set service_password `cat /run/secrets/service_password`
CREATE ROLE wm_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE wm_service LOGIN PASSWORD :'service_password';
REVOKE ALL ON DATABASE workspace FROM PUBLIC;
GRANT CONNECT ON DATABASE workspace TO wm_owner, wm_service;
GRANT USAGE, CREATE ON SCHEMA public TO wm_owner;
GRANT USAGE ON SCHEMA public TO wm_service;
ALTER DEFAULT PRIVILEGES FOR ROLE wm_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO wm_service;
ALTER DEFAULT PRIVILEGES FOR ROLE wm_owner IN SCHEMA public
  GRANT USAGE ON SEQUENCES TO wm_service;
SQL
