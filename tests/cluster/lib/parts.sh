# shellcheck shell=bash
# The processes of the cluster while it comes up, and waiting for what they do. To be sourced, after
# common.sh; their logs are in $folder/log.

declare -A parts=()

# start NAME NAMESPACE COMMAND...: leaves it running, also when this shell ends.
start() {
  local name=$1 namespace=$2
  (
    # A session of its own, for it is to outlive the terminal. By nsenter, because `ip netns exec`
    # mounts another /sys, which has no cgroups. Nothing but PATH is handed down: etcd, and every Go
    # program, takes settings from the environment.
    exec setsid env -i PATH="$binaries:$PATH" \
      nsenter --net="/run/netns/$namespace" -- "${@:3}"
  ) </dev/null >>"$folder/log/$name.log" 2>&1 &
  parts[$name]=$!
  # The shell need not tell of its end, which `check_parts` sees.
  disown $!
}

# A line of the record of a cluster's parts, by which `up` and `part` know them again: the name, the
# process, and its start. Of a part that was stopped there is only the name.
print_part() { printf '%s %s\n' "$1" "${2:+$2 $(started_at "$2")}"; }

blame() {
  local name=$1
  say "${@:2}"
  say "the end of the log of $name:"
  tail -n 30 -- "$folder/log/$name.log" | cut -c 1-400 >&2
  exit 1
}

check_parts() {
  local name
  for name in "${!parts[@]}"; do
    [[ -n $(started_at "${parts[$name]}") ]] || blame "$name" "$name has ended"
  done
}

# wait_for PART SECONDS WHAT COMMAND...: until the command succeeds. PART is whose log says more where
# it never does.
wait_for() {
  local part=$1 seconds=$2 what=$3 since
  since=$(now)
  until "${@:4}" >"$folder/log/.waiting" 2>&1; do
    check_parts
    if (($(now) - since > seconds * 1000)); then
      cat -- "$folder/log/.waiting" >&2
      blame "$part" "$what did not come to be within $seconds s"
    fi
    sleep 0.1
  done
  say "  $what after $(seconds_since "$begun")"
}
