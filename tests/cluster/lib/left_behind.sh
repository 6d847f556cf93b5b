# shellcheck shell=bash
# For the tests of this folder: what a cluster might leave on the machine. To be sourced, after
# common.sh and cgroups.sh.

# Everything, to be compared with what it was before. print_state FOLDER
print_state() {
  local folder=$1 process arguments path
  for process in /proc/[0-9]*; do
    arguments=$(tr '\0' ' ' 2>/dev/null <"$process/cmdline") || continue
    # This very test has the folder's name among its arguments, perhaps.
    [[ $arguments != *"$folder"* || $arguments == *smoke* ]] || echo "process: $arguments"
  done
  cluster_processes | sed 's/^/process in a cgroup: /'
  for_each_cgroup echo | sed 's/^/cgroup: /'
  awk '{print "mount: " $5}' /proc/self/mountinfo
  ip netns list | sed 's/^/namespace: /'
  ip -brief link | awk '{print "link: " $1}'
  ip route | sed 's/^/route: /'
  for path in "$folder" "$RECORD" ~/.kube /run/netns /run/containerd /run/runc \
    /opt/containerd /opt/cni /opt/nri /etc/cni /var/lib/{cni,kubelet,containerd} \
    /var/log/{pods,containers} /var/run/nri /usr/libexec/kubernetes; do
    [[ ! -e $path ]] || echo "path: $path"
  done
  sysctl kernel.panic kernel.panic_on_oops vm.overcommit_memory vm.panic_on_oom net.ipv4.ip_forward \
    kernel.keys.root_maxkeys kernel.keys.root_maxbytes | sed 's/^/setting: /'
}

# The same as $before?
expect_nothing_left() {
  local folder=$1 difference
  if difference=$(diff <(echo "$before") <(print_state "$folder")); then
    say "  nothing is left"
  else
    fail "this is not as it was before (< before, > now):"$'\n'"$difference"
  fi
}
