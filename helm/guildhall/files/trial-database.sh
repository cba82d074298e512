# A PostgreSQL for trials, from the programs that the image has for the embedded one. The first start makes the data,
# whole or not at all, with the two logins that the service and its migration use.
set -eu
programs=$(python3 -c 'from guildhall.db.embedded_system import binary; print(binary("postgres").parent)')
data=/var/lib/database/data
draft=/var/lib/database/draft
if [ ! -s "$data/PG_VERSION" ]; then
  rm -rf "$draft"
  printf '%s' "$SUPERUSER_PASSWORD" > /tmp/password
  "$programs/initdb" --pgdata="$draft" --username=guildhall_superuser --pwfile=/tmp/password --encoding=UTF8 \
    --auth-local=scram-sha-256 --auth-host=scram-sha-256 --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C
  rm /tmp/password
  echo 'host all all all scram-sha-256' >> "$draft/pg_hba.conf"
  "$programs/postgres" --single -D "$draft" postgres <<SQL
CREATE ROLE guildhall_owner LOGIN CREATEROLE PASSWORD '$OWNER_PASSWORD'
CREATE ROLE guildhall_service LOGIN PASSWORD '$SERVICE_PASSWORD'
CREATE DATABASE guildhall OWNER guildhall_owner
SQL
  mv "$draft" "$data"
fi
unset SUPERUSER_PASSWORD OWNER_PASSWORD SERVICE_PASSWORD
exec "$programs/postgres" -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp -c max_connections=200
