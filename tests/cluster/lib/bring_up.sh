# shellcheck shell=bash
# A cluster's parts, in their order. To be sourced, after all else that makes one.

ask() {
  # By default it would keep what it learns in the home folder.
  "$binaries/kubectl" --kubeconfig="$folder/admin.kubeconfig" --cache-dir="$folder/kubectl" \
    --request-timeout=5s "$@"
}
is_ready() {
  local ready='jsonpath={.status.conditions[?(@.type=="Ready")].status}'
  [[ $(ask get node "$1" --output="$ready") == True ]]
}

bring_up() {
  local node name
  mkdir -- "$folder/log"
  ln -s -- "$binaries" "$folder/bin"
  # So that what is interrupted leaves nothing elsewhere.
  export TMPDIR=$folder

  make_network
  make_authority
  make_control_plane_credentials
  start_etcd
  start_kube_apiserver
  make_fixed_folders
  for node in "${NODES[@]}"; do
    make_node "$node"
    start_containerd "$node"
  done

  cc -O2 -static -o "$folder/pause" "$here/lib/pause.c"
  "$here/image" "$PAUSE_IMAGE" "$folder/pause.tar" "$folder/pause"
  for node in "${NODES[@]}"; do
    name=$(node_name "$node")
    wait_for "containerd-$name" 30 "containerd of $name answers" containerd_answers "$node"
    wait_for "containerd-$name" 30 "the pause image is in $name" load_into "$node" "$folder/pause.tar"
  done

  wait_for kube-apiserver 60 "the API server is ready" ask get --raw /readyz
  start_kube_controller_manager
  start_kube_scheduler
  for node in "${NODES[@]}"; do
    start_kubelet "$node"
  done
  for node in "${NODES[@]}"; do
    name=$(node_name "$node")
    wait_for "kubelet-$name" 90 "$name is Ready" is_ready "$name"
  done
  # No Pod is admitted without the one, nor does one start without the other.
  local core=/api/v1/namespaces/default
  wait_for kube-controller-manager 60 "the service account exists" \
    ask get --raw "$core/serviceaccounts/default"
  wait_for kube-controller-manager 60 "the authority's certificate is published" \
    ask get --raw "$core/configmaps/kube-root-ca.crt"

  for name in "${!parts[@]}"; do
    print_part "$name" "${parts[$name]}"
  done >"$folder/parts"
}
