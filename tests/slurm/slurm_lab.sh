#!/usr/bin/env bash
# A real one-node Slurm, for tests. Needs Debian's slurm-wlm and munge (apt-get update && apt-get install -y slurm-wlm munge) and root.
#   slurm_lab.sh start DIR   -> prints the line `export SLURM_CONF=DIR/slurm.conf`; two CPUs at least, one partition `debug`
#   slurm_lab.sh stop DIR    -> ends the daemons that start began
# SLURM_LAB_PORT (6817): port of the controller; the node takes the next one. Two labs run beside one another on ports of their own.
set -euo pipefail
what=${1:?start or stop}; dir=$(realpath -m "${2:?a folder for its state}"); port=${SLURM_LAB_PORT:-6817}
if [[ $what == stop ]]; then
  for f in slurmd.pid slurmctld.pid munged.pid; do [[ -s $dir/$f ]] && kill "$(cat "$dir/$f")" 2>/dev/null || true; done
  exit 0
fi
mkdir -p "$dir"/{state,spool,log}
host=$(hostname -s); cpus=$(nproc); mem=$(( $(awk '/MemTotal/{print $2}' /proc/meminfo) / 1024 * 8 / 10 ))
# Tasks of tests wait more than they work: two run at a time on a machine of one core too.
((cpus >= 2)) || cpus=2
cat > "$dir/slurm.conf" <<CONF
ClusterName=lab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$mem State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$dir/slurm.conf
mkdir -p /run/munge && chown munge:munge /run/munge
if ! munge -n >/dev/null 2>&1; then su -s /bin/sh munge -c /usr/sbin/munged; sleep 1; cp /run/munge/munged.pid "$dir/munged.pid"; fi
slurmctld; slurmd
for _ in $(seq 60); do
  [[ $(sinfo --noheader --format=%T 2>/dev/null) == idle ]] && { echo "export SLURM_CONF=$dir/slurm.conf"; exit 0; }
  sleep 0.5
done
echo "no node became idle in 30 s; see $dir/log" >&2
tail -n 5 "$dir"/log/*.log >&2
exit 1
