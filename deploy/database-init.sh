#!/bin/sh
# Runs once, by the database's image, while its volume is empty: the roles and the database. `scad schema apply`
# does the rest as their owner, who may create roles but is no superuser.
set -eu
secrets=${SECRETS:-/run/secrets}

psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  -v owner_password="$(cat "$secrets/database_password")" \
  -v grafana_password="$(cat "$secrets/grafana_database_password")" <<'SQL'
create role scad login createrole password :'owner_password';
create role grafana login password :'grafana_password';
alter role grafana set default_transaction_read_only = on;
alter role grafana set statement_timeout = '30s';
create database scad owner scad;
revoke all on database scad from public;
grant connect on database scad to grafana;
\connect scad
create extension if not exists timescaledb;
SQL
