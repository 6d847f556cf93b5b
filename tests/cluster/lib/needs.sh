# shellcheck shell=bash
# Whether this machine can run the cluster. To be sourced, after common.sh.

# In place of a cluster of its own: the one of a kubeconfig, which `up` then prints.
readonly OWN_CLUSTER=${LEASEHOLD_TEST_KUBECONFIG:-}

skip() {
  say "SKIPPED, no cluster is started: $*"
  say "to test on a cluster that you have, set LEASEHOLD_TEST_KUBECONFIG to the path of its kubeconfig"
  exit "$SKIPPED"
}

# For the commands that work on the machine below the nodes.
skip_on_own_cluster() {
  [[ -z $OWN_CLUSTER ]] || {
    say "SKIPPED: $1; LEASEHOLD_TEST_KUBECONFIG is set, and its cluster is used as it is"
    exit "$SKIPPED"
  }
}

check_machine() {
  [[ $(uname -s) == Linux ]] || skip "it needs Linux, and this is $(uname -s)"
  ((EUID == 0)) || skip "it needs root, for network namespaces, mounts and cgroups"
  local tool
  for tool in cc flock ip nsenter openssl setsid sha256sum sysctl tar unshare; do
    command -v "$tool" >/dev/null || skip "it needs the command $tool"
  done
  unshare --net --mount true 2>/dev/null ||
    skip "this root may not make namespaces (is this a container without privileges?)"
  [[ -n $(cgroup_mounts) ]] || skip "no cgroup hierarchy is mounted"
  [[ -w $(cgroup_mounts | head -n 1) ]] || skip "this root may not make cgroups"
}

# install_missing COMMAND=PACKAGE...: by apt-get, what is not there. Fails where there is no apt-get.
install_missing() {
  local each missing=()
  for each in "$@"; do
    command -v "${each%%=*}" >/dev/null || missing+=("${each#*=}")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || return 1
  say "installing by apt-get what is missing: ${missing[*]}"
  local install=(apt-get install --yes --quiet --no-install-recommends "${missing[@]}")
  DEBIAN_FRONTEND=noninteractive "${install[@]}" >&2 ||
    { apt-get update >&2 && DEBIAN_FRONTEND=noninteractive "${install[@]}" >&2; } ||
    fail "apt-get could not install them; why is said above"
}

# Debian's, because it is the one thing that would need a C library (for seccomp) to be built here.
install_runc() { install_missing runc=runc || skip "it needs the command runc"; }
