#!/bin/sh
# A self-signed certificate for tests, valid for a year. For production put yours, with its chain and key, into one file there.
#   deploy/edge/certificate.sh [HOST]     writes deploy/edge/private/tls/site.pem
set -eu
host=${1:-localhost}
cd "$(dirname "$0")"
# The proxy's user in the container reads the file; on the host only the owner of the folder can.
mkdir -p private/tls
chmod 0700 private
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 365 -subj "/CN=$host" \
  -addext "subjectAltName=DNS:$host,IP:127.0.0.1" -keyout private/key.pem -out private/certificate.pem 2>/dev/null
cat private/certificate.pem private/key.pem >private/tls/site.pem
chmod 0644 private/tls/site.pem
echo "deploy/edge/private/tls/site.pem: a certificate for $host"
