# shellcheck shell=bash
# What every command here shares: the names, the messages, the lock. To be sourced.

# One cluster at a time on a machine, so the names are fixed: whatever bears them is this cluster's,
# or what a crashed run has left of one.
readonly CLUSTER=leasehold-cluster
readonly CONTROL_PLANE=leasehold-kube
readonly NODES=(1 2)
# The names of its folder, where there is one, and of the process it is for.
readonly RECORD=/run/$CLUSTER
readonly DEFAULT_FOLDER=${TMPDIR:-/tmp}/$CLUSTER
# For this side of the machine to reach the API server by. The range is set aside for benchmarks, so
# that nobody's network has it.
readonly HOST_LINK=leasehold-host HOST_ADDRESS=198.18.0.1 API_ADDRESS_FOR_HOST=198.18.0.2
# The same inside of the cluster, and what the service `kubernetes` has.
readonly API_ADDRESS=172.20.0.1 SERVICE_ADDRESS=10.96.0.1 SERVICE_RANGE=10.96.0.0/16
readonly PAUSE_IMAGE=leasehold.test/pause:1
# For a test runner that knows the difference: this machine cannot; nothing has failed.
readonly SKIPPED=77

node_name() { echo "node$1"; }
node_namespace() { echo "leasehold-node$1"; }
node_address() { echo "172.20.0.1$1"; }
pod_range() { echo "10.85.$1.0/24"; }

say() { printf 'tests/cluster: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# Milliseconds of the clock, for differences.
now() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
seconds_since() { printf '%d.%d s' $((($(now) - $1) / 1000)) $((($(now) - $1) / 100 % 10)); }

# The folder of the cluster that stands, or of what is left of one. Fails where there is none.
recorded_folder() { head -n 1 -- "$RECORD" 2>/dev/null; }

# Waits its turn: an `up` or `down` at a time. The lock is on a folder that every machine has, so that
# no lock file stays behind; it ends with this process, for no other is given the descriptor.
take_turn() {
  exec {turn}</run
  if ! flock --nonblock "$turn"; then
    say "another 'up' or 'down' is running; waiting for it"
    flock "$turn"
  fi
}

# What tells a process from another one that later gets the same id: its start, in clock ticks since
# the machine's. Nothing where it has ended.
started_at() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  # The second field is the command's name, which may hold spaces and brackets.
  read -r -a stat <<<"${stat##*) }"
  [[ ${stat[0]} == Z ]] || echo "${stat[19]}"
}
