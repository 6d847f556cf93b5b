# shellcheck shell=bash
# A node: its containerd and its kubelet, in its network namespace and in mounts of their own. To be
# sourced, after common.sh, credentials.sh and parts.sh.

# Folders that containerd, the CNI library and kubelet use whatever they are told. Each node has its
# own in place of them (see private-mounts).
readonly FIXED_FOLDERS=(/run/containerd /var/lib/cni /var/lib/kubelet /var/log/containers)

# They have to be there for something else to be mounted over them.
make_fixed_folders() {
  local path
  for path in "${FIXED_FOLDERS[@]}"; do
    if [[ ! -e $path ]]; then
      printf '%s\n' "$path" >>"$folder/made-outside"
      mkdir -p -- "$path"
    fi
  done
}

make_node() {
  local node=$1 name home
  name=$(node_name "$node")
  home=$folder/$name
  mkdir -p -- "$home"/{cni,kubelet,logs}
  issue_to_client "$name" "/O=system:nodes/CN=system:node:$name"
  make_kubeconfig "$home/kubeconfig" "$name" "$API_ADDRESS"
  write_containerd_config "$home" >"$home/containerd.toml"
  write_cni_config "$node" "$home" >"$home/cni/pods.conflist"
  write_kubelet_config "$name" "$home" >"$home/kubelet.yaml"
}

write_containerd_config() {
  local home=$1
  cat <<EOF
version = 3
root = '$home/containerd'
state = '$home/state'
# What nobody needs here, and would make folders outside.
disabled_plugins = ['io.containerd.nri.v1.nri', 'io.containerd.internal.v1.opt']

[grpc]
address = '$home/containerd.sock'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '$PAUSE_IMAGE'

[plugins.'io.containerd.cri.v1.runtime']
# Lowering it takes CAP_SYS_RESOURCE, which not every root has.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['$binaries']
conf_dir = '$home/cni'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
EOF
}

write_cni_config() {
  local node=$1 home=$2
  cat <<EOF
{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": false,
    "ipam": {
      "type": "host-local", "dataDir": "$home/addresses",
      "ranges": [[{"subnet": "$(pod_range "$node")"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
EOF
}

write_kubelet_config() {
  local name=$1 home=$2
  cat <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$home/containerd.sock
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $credentials/authority.crt}
authorization: {mode: Webhook}
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
cgroupRoot: /$CLUSTER/$name
enforceNodeAllocatable: []
# Both nodes are the whole machine, whose disk may be as full as it is.
evictionHard: {nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
oomScoreAdj: 0
# There is no DNS, and the machine's own is out of reach.
resolvConf: ""
podLogsDir: $home/logs
volumePluginDir: $home/volume-plugins
makeIPTablesUtilChains: false
# A minute by default, which would be what tests of mounted ConfigMaps wait for.
syncFrequency: 10s
EOF
}

start_containerd() {
  local name home
  name=$(node_name "$1")
  home=$folder/$name
  start "containerd-$name" "$(node_namespace "$1")" unshare --mount --propagation private \
    "$here/lib/private-mounts" "$home" "${FIXED_FOLDERS[@]}" -- \
    containerd --config "$home/containerd.toml"
}

# In the mounts of containerd, for each makes some that the other has to see.
start_kubelet() {
  local name home
  name=$(node_name "$1")
  home=$folder/$name
  start "kubelet-$name" "$(node_namespace "$1")" \
    nsenter --mount="/proc/${parts[containerd-$name]}/ns/mnt" -- \
    kubelet --config="$home/kubelet.yaml" --kubeconfig="$home/kubeconfig" \
    --hostname-override="$name" --node-ip="$(node_address "$1")" \
    --root-dir="$home/kubelet" --cert-dir="$home/kubelet/pki"
}

node_ctr() { "$binaries/ctr" --address "$folder/$(node_name "$1")/containerd.sock" "${@:2}"; }

containerd_answers() { node_ctr "$1" version; }

# load_into NODE IMAGE.tar
load_into() { node_ctr "$1" --namespace k8s.io images import "$2"; }
