# shellcheck shell=bash
# The cgroups of the cluster, which also say which processes are its: no process leaves its cgroup by
# itself, nor does its child, while an id that was written down may be another process's by now. To be
# sourced, after common.sh.

# The mount points of all hierarchies: version 1, version 2, or both.
cgroup_mounts() {
  # MOUNT-ID PARENT DEVICE ROOT MOUNT-POINT OPTIONS [TAG...] - TYPE SOURCE SUPER-OPTIONS
  awk '{for (i = 7; $i != "-"; i++); if ($(i + 1) ~ /^cgroup2?$/) print $5}' /proc/self/mountinfo
}

is_version_2() { [[ -e $1/cgroup.controllers ]]; }

# A kubelet expects that its root cgroup is there, in every hierarchy.
make_cgroups() {
  local mount node folder file
  while read -r mount; do
    mkdir -p -- "$mount/$CLUSTER/daemons"
    for node in "${NODES[@]}"; do
      mkdir -p -- "$mount/$CLUSTER/$(node_name "$node")"
    done
    # A new cpuset may use nothing until it is told.
    for folder in "$mount/$CLUSTER" "$mount/$CLUSTER"/*/; do
      for file in cpuset.cpus cpuset.mems; do
        if [[ -e $mount/$file && -e $folder/$file ]] && ! is_version_2 "$mount"; then
          cat -- "$mount/$file" >"$folder/$file"
        fi
      done
    done
    if is_version_2 "$mount"; then
      enable_controllers "$mount"
      enable_controllers "$mount/$CLUSTER"
    fi
  done < <(cgroup_mounts)
}

# Hands down what kubelet asks for. (Beside version 1, version 2 has no controllers.)
enable_controllers() {
  local available controller
  read -r -a available <"$1/cgroup.controllers" || return 0
  for controller in cpuset cpu io memory hugetlb pids; do
    if [[ " ${available[*]} " == *" $controller "* ]]; then
      echo "+$controller" >"$1/cgroup.subtree_control"
    fi
  done
}

# Puts this shell into the cgroup of the daemons, of one hierarchy: that is enough to find it again, and
# kubelet wants to be in the same cgroup of `cpu` and of `memory`.
enter_cgroup_of_daemons() {
  local mount mounts
  mapfile -t mounts < <(cgroup_mounts)
  for mount in "${mounts[@]}"; do
    [[ $mount != */pids ]] || break
  done
  echo "$BASHPID" >"$mount/$CLUSTER/daemons/cgroup.procs"
}

# Calls the command $@ with every cgroup of the cluster, the inner ones first.
for_each_cgroup() {
  local mount folder
  while read -r mount; do
    [[ -d $mount/$CLUSTER ]] || continue
    while read -r folder; do
      "$@" "$folder"
    done < <(find "$mount/$CLUSTER" -depth -type d 2>/dev/null)
  done < <(cgroup_mounts)
}

print_processes_of() { cat -- "$1/cgroup.procs" 2>/dev/null || true; }
cluster_processes() { for_each_cgroup print_processes_of | sort -nu; }

# Kills until none is left: what dies may just have started another.
kill_processes() {
  local attempt pids
  for ((attempt = 0; attempt < 200; attempt++)); do
    mapfile -t pids < <(cluster_processes)
    ((${#pids[@]})) || return 0
    kill -KILL "${pids[@]}" 2>/dev/null || true
    sleep 0.05
  done
  say "these processes of the cluster did not die: ${pids[*]}"
  return 1
}

remove_cgroups() {
  local attempt
  for ((attempt = 0; attempt < 50; attempt++)); do
    for_each_cgroup rmdir 2>/dev/null || true
    [[ -n $(for_each_cgroup echo) ]] || return 0
    sleep 0.1
  done
  say "these cgroups of the cluster could not be removed: $(for_each_cgroup echo)"
  return 1
}
