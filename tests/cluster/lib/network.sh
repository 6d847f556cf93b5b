# shellcheck shell=bash
# The cluster's network: a namespace for the control plane, which has the bridge, and one for each
# node. None has a way out of the machine. To be sourced, after common.sh.
#
# No namespace has a default route, and that of the control plane forwards nothing: nodes reach each
# other over the bridge, and the service `kubernetes` where it really is, for its address is on that
# namespace's loopback device (so no kube-proxy and no NAT are needed). The link to this side of the
# machine is not on the bridge.

set_in() { nsenter --net="/run/netns/$1" sysctl --quiet --write "${@:2}"; }

make_namespace() {
  ip netns add "$1"
  # IPv4's settings are the machine's at first, which may be to forward.
  set_in "$1" net.ipv4.ip_forward="$2" net.ipv6.conf.all.disable_ipv6=1 \
    net.ipv6.conf.default.disable_ipv6=1
  ip -n "$1" link set lo up
}

make_network() {
  local kube=$CONTROL_PLANE node other namespace
  make_namespace "$kube" 0
  ip -n "$kube" address add "$SERVICE_ADDRESS/32" dev lo
  ip -n "$kube" link add nodes type bridge
  ip -n "$kube" address add "$API_ADDRESS/24" dev nodes
  ip -n "$kube" link set nodes up

  for node in "${NODES[@]}"; do
    namespace=$(node_namespace "$node")
    make_namespace "$namespace" 1
    ip -n "$kube" link add "$(node_name "$node")" type veth peer name eth0 netns "$namespace"
    ip -n "$kube" link set "$(node_name "$node")" master nodes up
    ip -n "$namespace" address add "$(node_address "$node")/24" dev eth0
    ip -n "$namespace" link set eth0 up
    ip -n "$namespace" route add "$SERVICE_RANGE" via "$API_ADDRESS"
    for other in "${NODES[@]}"; do
      [[ $other == "$node" ]] ||
        ip -n "$namespace" route add "$(pod_range "$other")" via "$(node_address "$other")"
    done
    ip -n "$kube" route add "$(pod_range "$node")" via "$(node_address "$node")"
  done

  ip -n "$kube" link add host type veth peer name "$HOST_LINK" netns $$
  ip -n "$kube" address add "$API_ADDRESS_FOR_HOST/30" dev host
  ip -n "$kube" link set host up
  ip address add "$HOST_ADDRESS/30" dev "$HOST_LINK"
  ip link set "$HOST_LINK" up
}

remove_network() {
  local namespace
  # Before its peer's namespace, with which it would go only a while later.
  if [[ -e /sys/class/net/$HOST_LINK ]]; then
    ip link delete "$HOST_LINK"
  fi
  for namespace in "$CONTROL_PLANE" $(printf 'leasehold-node%s ' "${NODES[@]}"); do
    if [[ -e /run/netns/$namespace ]]; then
      ip netns delete "$namespace"
    fi
  done
  # `ip` makes it, and a mount of it, with the first namespace on a machine.
  if [[ -d /run/netns && -z $(ls -A /run/netns) ]]; then
    umount /run/netns 2>/dev/null || true
    rmdir /run/netns
  fi
}
