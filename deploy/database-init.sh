#!/bin/sh
# Runs once, by the database's image, while its volume is empty: the roles and the database. `scad schema apply`
# does the rest as their owner, who may create roles but is no superuser. Without containers docs/operation.md says
# how: PSQL is then the command that reaches the server as its superuser.
set -eu
secrets=${SECRETS:-/run/secrets}

${PSQL:-psql} -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  -v owner_password="$(cat "$secrets/database_password")" \
  -v feed_password="$(cat "$secrets/feed_database_password")" \
  -v writer_password="$(cat "$secrets/writer_database_password")" \
  -v escalation_password="$(cat "$secrets/escalation_database_password")" \
  -v enrol_password="$(cat "$secrets/enrol_database_password")" \
  -v grafana_password="$(cat "$secrets/grafana_database_password")" <<'SQL'
create role scad login createrole password :'owner_password';
-- The feed is no owner: it logs in as a member of scad_feed, sees its users' teams by row-level security, and may
-- become scad_login and scad_service for a transaction (alerts/schema/0016_roles.sql).
create role scad_feed nologin;
create role scad_login nologin;
create role scad_service nologin;
grant scad_login, scad_service to scad_feed with inherit false;
grant scad_feed, scad_login to scad with inherit false;
grant scad_service to scad;
create role feed login password :'feed_password' in role scad_feed;
-- One role for each process that serves no people (alerts/schema/0030_processes.sql says what each may do).
create role scad_writer nologin;
create role scad_escalation nologin;
create role scad_enrol nologin;
grant scad_writer, scad_escalation, scad_enrol to scad with inherit false;
create role writer login password :'writer_password' in role scad_writer;
create role escalation login password :'escalation_password' in role scad_escalation;
create role enrol login password :'enrol_password' in role scad_enrol;
create role grafana login password :'grafana_password';
alter role grafana set default_transaction_read_only = on;
alter role grafana set statement_timeout = '30s';
create database scad owner scad;
revoke all on database scad from public;
grant connect on database scad to feed, writer, escalation, enrol, grafana;
grant temporary on database scad to writer; -- batches are copied into a temporary table first
\connect scad
select exists (select from pg_available_extensions where name = 'timescaledb') as timescaledb \gset
\if :timescaledb
  create extension if not exists timescaledb;
\else
  \echo 'no TimescaleDB on this server: the schema does without it'
\endif
SQL
