#!/usr/bin/env bash
# A Slurm of one node on this machine, for tests: cluster.sh start FOLDER | cluster.sh stop FOLDER
#
# Needs root and Debian's packages slurm-wlm and munge. Jobs do not inherit SLURM_CONF, so the
# configuration has to lie in Slurm's own folder; one that is not ours is never touched.
set -euo pipefail

action=$1 folder=$2
conf=/etc/slurm/slurm.conf gres=/etc/slurm/gres.conf mark="# made by tests/slurm/cluster.sh"

ours() { [ ! -e "$conf" ] || head -1 "$conf" | grep -qxF "$mark"; }

stop() {
  for name in slurmd slurmctld munged; do
    [ ! -f "$folder/$name.pid" ] || kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
  done
  if ours; then rm -f "$conf" "$gres"; fi
}

start() {
  if ! ours; then
    echo "error: $conf configures another cluster, which is left alone" >&2
    exit 1
  fi
  mkdir -p "$folder"/{state,spool,run} /run/munge /etc/slurm
  chmod 711 "$folder"
  [ -s /etc/munge/munge.key ] || mungekey --create
  pgrep -x munged >/dev/null || munged --force --pid-file "$folder/munged.pid"

  # Eight processors are promised whatever the machine has, and a GPU that nothing looks at: rules
  # ask for as much.
  cat >"$gres" <<EOF
NodeName=$(hostname -s) Name=gpu File=/dev/null
EOF
  cat >"$conf" <<EOF
$mark
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SchedulerParameters=sched_interval=1
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
KillWait=30
SlurmdParameters=config_overrides
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES State=UP
PartitionName=gpu Nodes=ALL State=UP
EOF
  slurmctld
  slurmd
  for _ in $(seq 60); do
    if sinfo --noheader --format=%t 2>/dev/null | grep -q idle; then exit 0; fi
    sleep 0.5
  done
  echo "error: the node does not come up:" >&2
  tail -n 20 "$folder"/slurm*.log >&2
  exit 1
}

"$action"
