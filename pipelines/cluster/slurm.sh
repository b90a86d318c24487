#!/usr/bin/env bash
#SBATCH --job-name=l0-encode
#SBATCH --array=0-15
#SBATCH --cpus-per-task=8
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=%x-%A_%a.log
# An array job, one part a task:
#
#   sbatch pipelines/cluster/slurm.sh parts corpus.jsonl
#   sbatch --gres=gpu:1 pipelines/cluster/slurm.sh parts corpus.jsonl -- --device cuda --dtype bf16
#   sbatch --array=3,7 pipelines/cluster/slurm.sh parts corpus.jsonl      only these again; still 16 parts
#
# Arguments as of part.sh. Threads are those of --cpus-per-task, which l0-encode reads; a task that is
# killed for its time, or preempted, goes on where it was when it is queued again.
set -euo pipefail
export L0_SHARDS=${L0_SHARDS:-16}     # as --array has, also when few of them run again
exec "${L0_PIPELINES:-$SLURM_SUBMIT_DIR/pipelines}/cluster/part.sh" "$@"
