#!/bin/sh
# Ends a device's access at once: its account and certificate are taken away, the broker is told, and the connection
# that stands is dropped with its session.
#
#   deploy/revoke.sh SERIAL
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ "$#" -eq 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }

"$here/make-secrets.sh" remove "$1"
cd "$here/.."
docker compose kill -s HUP mosquitto
docker compose run --rm operator device revoke "$1"
