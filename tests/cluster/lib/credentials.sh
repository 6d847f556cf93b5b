# shellcheck shell=bash
# A throw-away authority, and what it issues. To be sourced, after common.sh; all in the folder
# $credentials, which only root can read.

make_authority() {
  mkdir -m 700 -- "$credentials"
  new_key authority
  openssl req -x509 -new -key "$credentials/authority.key" -days 30 -subj "/CN=$CLUSTER" \
    -out "$credentials/authority.crt"
  new_key service-account
  openssl pkey -in "$credentials/service-account.key" -pubout -out "$credentials/service-account.pub"
}

new_key() {
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$credentials/$1.key" 2>/dev/null
}

# issue FILE SUBJECT EXTENSION...
issue() {
  local name=$1 subject=$2
  new_key "$name"
  openssl req -new -key "$credentials/$name.key" -subj "$subject" |
    openssl x509 -req -CA "$credentials/authority.crt" -CAkey "$credentials/authority.key" \
      -set_serial "0x$(openssl rand -hex 8)" -days 30 -out "$credentials/$name.crt" \
      -extfile <(printf '%s\n' "${@:3}") 2>/dev/null
}

issue_to_client() { issue "$1" "$2" extendedKeyUsage=clientAuth; }

issue_to_api_server() {
  local names address
  names=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
  names+=,DNS:kubernetes.default.svc.cluster.local
  for address in 127.0.0.1 "$SERVICE_ADDRESS" "$API_ADDRESS" "$API_ADDRESS_FOR_HOST"; do
    names+=,IP:$address
  done
  issue api-server /CN=kube-apiserver extendedKeyUsage=serverAuth "subjectAltName=$names"
}

# make_kubeconfig PATH NAME SERVER: with everything in the one file, so that it can be copied.
make_kubeconfig() {
  local path=$1 name=$2 server=$3
  encoded() { base64 --wrap=0 "$credentials/$1"; }
  (umask 077 && cat >"$path") <<EOF
apiVersion: v1
kind: Config
current-context: $CLUSTER
contexts:
- name: $CLUSTER
  context: {cluster: $CLUSTER, user: $name}
clusters:
- name: $CLUSTER
  cluster:
    server: https://$server
    certificate-authority-data: $(encoded authority.crt)
users:
- name: $name
  user:
    client-certificate-data: $(encoded "$name.crt")
    client-key-data: $(encoded "$name.key")
EOF
}
