#!/bin/sh
# The secrets of compose.yaml, drawn at random, one file each. Nothing that exists is ever replaced.
#
#   deploy/make-secrets.sh [HOST ...]     make what is missing; HOST: names or addresses that devices will use
#   deploy/make-secrets.sh device SERIAL  an MQTT account for a device; prints its password, this once
#   deploy/make-secrets.sh remove SERIAL  take the account away
#   deploy/make-secrets.sh fleet < FILE   accounts for every device of an enrolment file (simulated fleets)
#
# After the last three: docker compose kill -s HUP mosquitto
# Needs openssl and python3. SCAD_SECRETS names another folder than deploy/secrets.
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
secrets=${SCAD_SECRETS:-$here/secrets}
certificate_days=825 # the longest that most TLS libraries accept of a server

# The folder is closed to others (0700), the files in it are readable (0444): containers run as users of their
# own and see single files, never the folder.
mkdir -p "$secrets"
chmod 700 "$secrets"
[ -e "$secrets/.gitignore" ] || echo '*' > "$secrets/.gitignore"

keep() { # keep NAME < content: a new file; an existing one is left alone
  if [ -e "$secrets/$1" ]; then cat > /dev/null; return; fi
  cat > "$secrets/.new"
  chmod 444 "$secrets/.new"
  mv "$secrets/.new" "$secrets/$1"
}

draw() { openssl rand -hex 24; }

# Lines of mosquitto's password file from lines "user password": PBKDF2-SHA512, as mosquitto_passwd writes them.
hash_lines() {
  python3 -c '
import base64, hashlib, os, sys
for line in sys.stdin:
    user, password = line.split()
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    print(f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}")
'
}

serial() {
  case $1 in
    '' | *[!A-Za-z0-9._-]*) echo "'$1' is no serial: 1 to 64 of A-Z a-z 0-9 . _ - are allowed" >&2; exit 2 ;;
    bridge) echo "'bridge' is the platform's own account" >&2; exit 2 ;;
  esac
  [ "${#1}" -le 64 ] || { echo "'$1' is longer than 64 characters" >&2; exit 2; }
}

known() { grep -q "^$(printf %s "$1" | sed 's/\./\\./g'):" "$secrets/mosquitto_passwords"; }

passwords_from() { # write in place: the container holds this very file, and a new one would not be seen
  chmod u+w "$secrets/mosquitto_passwords"
  cat "$1" > "$secrets/mosquitto_passwords"
  chmod 444 "$secrets/mosquitto_passwords"
  rm -f "$1"
}

certificate() { # a server certificate signed by a CA of our own; put an official one in its place where you have it
  names=localhost
  for host in "$@"; do names="$names $host"; done
  alternatives=$(for name in $names; do
    case $name in *[!0-9.:]*) echo "DNS:$name" ;; *) echo "IP:$name" ;; esac
  done | paste -sd, -)
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=SCAD devices CA" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$secrets/ca.key" -out "$secrets/ca.crt" 2> /dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=${1:-localhost}" \
    -keyout "$secrets/server.key" -out "$secrets/server.csr" 2> /dev/null
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$alternatives" > "$secrets/server.ext"
  openssl x509 -req -in "$secrets/server.csr" -CA "$secrets/ca.crt" -CAkey "$secrets/ca.key" -CAcreateserial \
    -days "$certificate_days" -extfile "$secrets/server.ext" -out "$secrets/server.crt" 2> /dev/null
  keep mosquitto_certificate < "$secrets/server.crt"
  keep mosquitto_key < "$secrets/server.key"
  chmod 444 "$secrets/ca.crt"
  rm -f "$secrets/server.key" "$secrets/server.csr" "$secrets/server.ext" "$secrets/server.crt" "$secrets/ca.srl"
}

make_all() {
  for name in postgres_password database_password feed_database_password grafana_database_password \
    grafana_admin_password grafana_secret_key prometheus_password mqtt_bridge_password webhook_secret; do
    draw | keep "$name"
  done
  echo "postgresql://scad:$(cat "$secrets/database_password")@timescaledb:5432/scad" | keep database_url
  echo "postgresql://feed:$(cat "$secrets/feed_database_password")@timescaledb:5432/scad" | keep feed_database_url
  keep oidc_client_secret < /dev/null # of your identity provider: write it into the file; empty: none
  echo "bridge $(cat "$secrets/mqtt_bridge_password")" | hash_lines | keep mosquitto_passwords
  echo '{}' | keep fleet_accounts
  keep smtp_password < /dev/null # of your mail server's account: write it into the file; empty: no login
  [ -e "$secrets/synthetic_accounts" ] || printf '{"synthetic-1": "%s"}\n' "$(draw)" | keep synthetic_accounts
  known synthetic-1 || add_synthetic
  [ -e "$secrets/mosquitto_certificate" ] || certificate "$@"
  echo "secrets are in $secrets; devices need ca.crt from there" >&2
}

add_synthetic() { # the device of `scad synthetic`, with the password that it is given
  password=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["synthetic-1"])' \
    "$secrets/synthetic_accounts")
  { cat "$secrets/mosquitto_passwords"; echo "synthetic-1 $password" | hash_lines; } > "$secrets/.new"
  passwords_from "$secrets/.new"
}

add_fleet() { # an account for each device that has none; fleet_accounts tells `scad fleet` their passwords
  python3 -c '
import json, re, secrets, sys
folder = sys.argv[1]
known = {line.split(":")[0] for line in open(f"{folder}/mosquitto_passwords")}
accounts = json.load(open(f"{folder}/fleet_accounts"))
devices = {use["device"] for patient in json.load(sys.stdin)["patients"] for use in patient.get("devices", [])}
for device in sorted(devices - known):
    if not re.fullmatch("[A-Za-z0-9._-]{1,64}", device):
        sys.exit(f"{device!r} is no serial")
    accounts[device] = secrets.token_hex(24)
    print(device, accounts[device])
with open(f"{folder}/.accounts", "w") as file:
    json.dump(accounts, file, indent=1)
' "$secrets" > "$secrets/.drawn"
  { cat "$secrets/mosquitto_passwords"; hash_lines < "$secrets/.drawn"; } > "$secrets/.new"
  passwords_from "$secrets/.new"
  chmod 444 "$secrets/.accounts"
  mv "$secrets/.accounts" "$secrets/fleet_accounts"
  echo "new accounts: $(wc -l < "$secrets/.drawn")" >&2
  rm -f "$secrets/.drawn"
}

command=${1:-}
case $command in
  device | remove | fleet)
    [ -e "$secrets/mosquitto_passwords" ] || { echo "make the secrets first: deploy/make-secrets.sh" >&2; exit 1; }
    ;;
esac
case $command in
  device)
    serial "${2:-}"
    known "$2" && { echo "$2 has an account: remove it first to give it a new password" >&2; exit 1; }
    password=$(draw)
    { cat "$secrets/mosquitto_passwords"; echo "$2 $password" | hash_lines; } > "$secrets/.new"
    passwords_from "$secrets/.new"
    echo "$password"
    ;;
  remove)
    serial "${2:-}"
    known "$2" || { echo "$2 has no account" >&2; exit 1; }
    grep -v "^$(printf %s "$2" | sed 's/\./\\./g'):" "$secrets/mosquitto_passwords" > "$secrets/.new"
    passwords_from "$secrets/.new"
    ;;
  fleet) add_fleet ;;
  -*) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
  *) make_all "$@" ;;
esac
