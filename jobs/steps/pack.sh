# shellcheck shell=bash
# A job of a packing: [options] SITE CONFIG.yaml [options of vjepa-pack]. See jobs/slurm/pack.sh.
# shellcheck source=jobs/steps/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin_job pack "$@"

is_done() { [ -e "$out/index.h5" ]; }
progress() { find "$out" -maxdepth 1 -name 'shard*.h5' 2>/dev/null | wc -l; } # whole shards
stopped_by_user() { false; }

chain vjepa-pack "${arguments[@]}"
