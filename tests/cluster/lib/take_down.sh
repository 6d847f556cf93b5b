# shellcheck shell=bash
# The end of a cluster, whatever state it is in. To be sourced, after common.sh, cgroups.sh and
# network.sh; whoever calls it has its turn.

# take_down FOLDER: all that bears the cluster's names, and the folder.
take_down() {
  local folder=$1 outcome=0
  # Its end would take down the next cluster.
  end_guardian || outcome=1
  # First, because they hold all that follows.
  kill_processes || outcome=1
  unmount_below "$folder" || outcome=1
  remove_network || outcome=1
  remove_cgroups || outcome=1
  remove_made_outside "$folder" || outcome=1
  remove_folder "$folder" || outcome=1
  # Last, and only when all is gone: as long as it is there, the next `up` or `down` tries again.
  ((outcome)) || rm -f -- "$RECORD"
  return "$outcome"
}

end_guardian() {
  local pid start
  # Written by `up`: the folder, then the guardian's id and start.
  read -r pid start < <(sed -n 2p -- "$RECORD" 2>/dev/null) || return 0
  if [[ $pid != "$$" && $(started_at "$pid") == "$start" ]]; then
    kill -KILL "$pid"
  fi
}

# Expected to find nothing: a node's mounts end with its processes.
unmount_below() {
  local point
  while read -r point; do
    point=$(printf %b "$point")
    if [[ $point == "$1"/* ]]; then
      umount -- "$point" || umount --lazy -- "$point" || return 1
    fi
  done < <(awk '{print $5}' /proc/self/mountinfo | tac)
}

remove_made_outside() {
  local path
  [[ -e $1/made-outside ]] || return 0
  while read -r path; do
    rmdir --ignore-fail-on-non-empty -- "$path" 2>/dev/null || true
  done <"$1/made-outside"
}

remove_folder() {
  [[ -e $1 ]] || return 0
  # Made with the folder by `up`; without it, what is there is somebody else's.
  [[ -e $1/.$CLUSTER ]] || return 0
  # --one-file-system, so that a mount that was overlooked is not emptied.
  rm -rf --one-file-system -- "$1"
}
