#!/bin/sh
# The secrets of compose.yaml, drawn at random, one file each. Nothing that exists is ever replaced.
#
#   deploy/make-secrets.sh [HOST ...]     make what is missing; HOST: names or addresses that devices will use
#   deploy/make-secrets.sh device SERIAL  an MQTT account for a device; prints its password, this once
#   deploy/make-secrets.sh certificate SERIAL   a certificate for a device instead, in devices/SERIAL.crt and .key
#   deploy/make-secrets.sh remove SERIAL  take the account away, and revoke the certificate
#   deploy/make-secrets.sh renew          new certificates for the servers, by the same authority
#   deploy/make-secrets.sh fleet < FILE   accounts for every device of an enrolment file (simulated fleets)
#
# After device, remove and fleet: docker compose kill -s HUP mosquitto. To end a device's access at once:
# deploy/revoke.sh SERIAL, which does all of it. After renew: restart the servers.
# Needs openssl and python3. SCAD_SECRETS names another folder than deploy/secrets.
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
secrets=${SCAD_SECRETS:-$here/secrets}
certificate_days=825 # the longest that most TLS libraries accept of a server
device_days=825
list_days=3650 # an expired list of revoked certificates would lock every device out

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
    bridge | operator) echo "'$1' is the platform's own account" >&2; exit 2 ;;
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

authority() { # the authority that signs servers and devices, and its list of revoked certificates
  [ -e "$secrets/ca.key" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
    -subj "/CN=SCAD devices CA" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$secrets/ca.key" -out "$secrets/ca.crt" 2> /dev/null
  chmod 444 "$secrets/ca.crt"
  keep ca_certificate < "$secrets/ca.crt"
  [ -e "$secrets/ca.index" ] || : > "$secrets/ca.index"
  [ -e "$secrets/ca.crlnumber" ] || echo 01 > "$secrets/ca.crlnumber"
  [ -e "$secrets/device_revocations" ] || revocations
}

authority_does() { # authority_does ARGUMENTS: openssl ca on the authority's own files
  cat > "$secrets/.ca.cnf" <<END
[ca]
default_ca = scad
[scad]
database = $secrets/ca.index
crlnumber = $secrets/ca.crlnumber
default_md = sha256
default_crl_days = $list_days
certificate = $secrets/ca.crt
private_key = $secrets/ca.key
END
  openssl ca -config "$secrets/.ca.cnf" "$@" 2> "$secrets/.ca.said" || { cat "$secrets/.ca.said" >&2; exit 1; }
  rm -f "$secrets/.ca.cnf" "$secrets/.ca.said" "$secrets"/ca.index.* "$secrets/ca.crlnumber.old"
}

revocations() { # the list as it is now; in place, because the container holds this very file
  authority_does -gencrl -out "$secrets/.crl"
  [ ! -e "$secrets/device_revocations" ] || chmod u+w "$secrets/device_revocations"
  cat "$secrets/.crl" > "$secrets/device_revocations"
  chmod 444 "$secrets/device_revocations"
  rm -f "$secrets/.crl"
}

sign() { # sign NAME DAYS EXTENSIONS: .new.crt and .new.key in the secrets
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
    -keyout "$secrets/.new.key" -out "$secrets/.new.csr" 2> /dev/null
  printf '%b' "$3" > "$secrets/.new.ext"
  # the serial number is drawn at random
  openssl x509 -req -in "$secrets/.new.csr" -CA "$secrets/ca.crt" -CAkey "$secrets/ca.key" \
    -days "$2" -extfile "$secrets/.new.ext" -out "$secrets/.new.crt" 2> /dev/null
  rm -f "$secrets/.new.csr" "$secrets/.new.ext" "$secrets/ca.srl"
}

server() { # server SECRET HOST ...: SECRET_certificate and SECRET_key, for localhost and these names
  [ ! -e "$secrets/$1_certificate" ] || return 0
  secret=$1
  shift
  alternatives=$(for name in localhost "$@"; do
    case $name in *[!0-9.:]*) echo "DNS:$name" ;; *) echo "IP:$name" ;; esac
  done | paste -sd, -)
  sign "${1:-localhost}" "$certificate_days" "subjectAltName=$alternatives\nextendedKeyUsage=serverAuth\n"
  keep "${secret}_certificate" < "$secrets/.new.crt"
  keep "${secret}_key" < "$secrets/.new.key"
  rm -f "$secrets/.new.crt" "$secrets/.new.key"
}

servers() { # one certificate for each server; HOST ... are further names of mosquitto, those that devices use
  [ "$#" -eq 0 ] || echo "$*" | keep mqtt_hosts
  server mosquitto $(cat "$secrets/mqtt_hosts" 2> /dev/null) mosquitto
  server database timescaledb
  server kafka kafka
  cat "$secrets/kafka_key" "$secrets/kafka_certificate" | keep kafka_keystore
}

renew() { # the old ones stay until the new ones are there
  for name in mosquitto database kafka; do rm -f "$secrets/${name}_certificate" "$secrets/${name}_key"; done
  rm -f "$secrets/kafka_keystore"
  servers
}

device_certificate() {
  mkdir -p "$secrets/devices"
  [ ! -e "$secrets/devices/$1.crt" ] || { echo "$1 has a certificate: remove it first" >&2; exit 1; }
  sign "$1" "$device_days" "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n"
  mv "$secrets/.new.key" "$secrets/devices/$1.key"
  mv "$secrets/.new.crt" "$secrets/devices/$1.crt"
  echo "$secrets/devices/$1.crt"
}

revoke_certificate() { # the certificate is kept, out of the way: the authority's index names it
  authority_does -revoke "$secrets/devices/$1.crt"
  rm -f "$secrets/devices/$1.key" "$secrets/devices/$1.crt"
  revocations
}

make_all() {
  for name in postgres_password database_password feed_database_password writer_database_password \
    escalation_database_password enrol_database_password grafana_database_password grafana_admin_password grafana_secret_key \
    prometheus_password mqtt_bridge_password mqtt_operator_password kafka_password kafka_broker_password \
    kafka_bridge_password kafka_worker_password kafka_enrol_password \
    webhook_secret; do
    draw | keep "$name"
  done
  address database_url scad database_password
  for name in feed writer escalation enrol; do address "${name}_database_url" "$name" "${name}_database_password"; done
  # What identities are encrypted by: copy it to a safe place, apart from backups; without it no name can be read.
  [ -e "$secrets/identity_keys" ] || echo "1 $(openssl rand -base64 32)" | keep identity_keys
  keep oidc_client_secret < /dev/null # of your identity provider: write it into the file; empty: none
  echo "bridge $(cat "$secrets/mqtt_bridge_password")" | hash_lines | keep mosquitto_passwords
  known operator || add_line operator "$(cat "$secrets/mqtt_operator_password")"
  echo '{}' | keep fleet_accounts
  keep smtp_password < /dev/null # of your mail server's account: write it into the file; empty: no login
  [ -e "$secrets/synthetic_accounts" ] || printf '{"synthetic-1": "%s"}\n' "$(draw)" | keep synthetic_accounts
  known synthetic-1 || add_synthetic
  authority
  servers "$@"
  kafka_accounts
  echo "secrets are in $secrets; devices need ca.crt from there" >&2
}

address() { # address SECRET USER PASSWORD: of the database, which has to show a certificate of our authority
  echo "postgresql://$2:$(cat "$secrets/$3")@timescaledb:5432/scad?sslmode=verify-full&sslrootcert=/run/secrets/ca_certificate" \
    | keep "$1"
}

kafka_accounts() { # the broker's accounts, and what its own tools need to log in
  broker=$(cat "$secrets/kafka_broker_password")
  accounts="user_broker=\"$broker\" user_scad=\"$(cat "$secrets/kafka_password")\""
  for name in bridge worker enrol; do accounts="$accounts user_$name=\"$(cat "$secrets/kafka_${name}_password")\""; done
  module=org.apache.kafka.common.security.plain.PlainLoginModule
  cat <<END | keep kafka_jaas
KafkaServer {
  $module required username="broker" password="$broker" $accounts;
};
END
  cat <<END | keep kafka_tool
security.protocol=SASL_SSL
ssl.truststore.type=PEM
ssl.truststore.location=/run/secrets/ca_certificate
sasl.mechanism=PLAIN
sasl.jaas.config=$module required username="broker" password="$broker";
END
}

add_line() { # add_line USER PASSWORD
  { cat "$secrets/mosquitto_passwords"; echo "$1 $2" | hash_lines; } > "$secrets/.new"
  passwords_from "$secrets/.new"
}

add_synthetic() { # the device of `scad synthetic`, with the password that it is given
  password=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["synthetic-1"])' \
    "$secrets/synthetic_accounts")
  add_line synthetic-1 "$password"
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
  device | certificate | remove | fleet | renew)
    [ -e "$secrets/mosquitto_passwords" ] || { echo "make the secrets first: deploy/make-secrets.sh" >&2; exit 1; }
    ;;
esac
case $command in
  device)
    serial "${2:-}"
    known "$2" && { echo "$2 has an account: remove it first to give it a new password" >&2; exit 1; }
    password=$(draw)
    add_line "$2" "$password"
    echo "$password"
    ;;
  certificate)
    serial "${2:-}"
    device_certificate "$2"
    ;;
  remove)
    serial "${2:-}"
    known "$2" || [ -e "$secrets/devices/$2.crt" ] || { echo "$2 has no account" >&2; exit 1; }
    if known "$2"; then
      grep -v "^$(printf %s "$2" | sed 's/\./\\./g'):" "$secrets/mosquitto_passwords" > "$secrets/.new"
      passwords_from "$secrets/.new"
    fi
    [ ! -e "$secrets/devices/$2.crt" ] || revoke_certificate "$2"
    ;;
  fleet) add_fleet ;;
  renew) renew ;;
  -*) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2 ;;
  *) make_all "$@" ;;
esac
