#!/usr/bin/env bash
# Dependencies point one way: base <- parallel <- io, base <- kernels; parallel, kernels <- model; all of these <- train, probe, bench <- programs.
set -euo pipefail
cd "${VJEPA_SOURCE:?}"
bad=0
may() { # FOLDER ALLOWED... : which folders' headers it may include
    local folder=$1 allowed=" $* " path include
    shift
    for path in "src/$folder" "io/$folder"; do
        [ -d "$path" ] || continue
        while IFS=: read -r file _ include; do
            include=${include#*\"}
            include=${include%%\"*}
            case $include in */*) ;; *) continue ;; esac
            if [[ $allowed != *" ${include%%/*} "* ]]; then
                echo "$file includes $include: $folder must not know ${include%%/*}" >&2
                bad=1
            fi
        done < <(grep -rnE '^#include "' "$path" --include='*.[ch]')
    done
}
io="h5 video codec demo clips decode ckpt features pack"
may base
may parallel base
may kernels base
may h5 base parallel
may video base
may codec base
may clips base parallel h5 video codec
may ckpt base parallel h5
may features base parallel h5 clips
may demo base video
may decode base video codec clips
may pack base parallel video codec clips decode
may model base parallel kernels
may sheet base parallel kernels model codec clips video pack
# shellcheck disable=SC2086
may train base parallel kernels model $io
# shellcheck disable=SC2086
may probe base parallel kernels model train $io
# shellcheck disable=SC2086
may bench base parallel kernels model train $io
# shellcheck disable=SC2086
may plan base parallel kernels model train bench $io
exit $bad
