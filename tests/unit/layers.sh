#!/usr/bin/env bash
# Checks rules for the whole source in its text. Dependencies between folders point one way, and docs/design.md draws and lists the same
# ones as this script. A type has one name, and a name stands for one type. Parallel regions say how many threads they use: otherwise each
# rank of a node would start as many as the node has cores.
set -euo pipefail
cd "${VJEPA_SOURCE:?}"
bad=0
table=
may() { # FOLDER ALLOWED... : which folders' headers it may include
    local folder=$1 allowed=" $* " path include
    shift
    table+="- \`$folder\`:${*:+ $*}"$'\n'
    for path in "src/$folder" "src/tools/$folder" "io/store/$folder" "io/make/$folder" "analysis/$folder"; do
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
store="h5 codec clips ckpt features"
make="video decode pack"
compute="kernels model"
may base
may parallel base
may h5 base parallel
may codec base
may clips base parallel h5 codec
may ckpt base parallel h5
may features base parallel h5 clips
may video base
may decode base video codec clips
may pack base parallel video codec clips decode
may kernels base
may feed base kernels clips codec
may model base parallel kernels
# shellcheck disable=SC2086
may train base parallel feed $compute $store
# shellcheck disable=SC2086
may probe base parallel feed $compute train $store
# shellcheck disable=SC2086
may evaluate base parallel feed $compute train probe $store
may demo base video
# shellcheck disable=SC2086
may sheet base parallel feed $compute clips codec $make
# shellcheck disable=SC2086
may bench base parallel feed $compute train $store $make
# shellcheck disable=SC2086
may plan base parallel feed $compute train $store $make bench
may linear base parallel kernels
# shellcheck disable=SC2086
may source base parallel feed $compute train probe $store
# shellcheck disable=SC2086
may spectrum base parallel train probe $store bench linear source
# shellcheck disable=SC2086
may report base parallel feed $compute train probe $store video bench sheet
may scaling base parallel model plan
# shellcheck disable=SC2016
if ! diff <(printf %s "$table") <(grep -E '^- `[a-z0-9]+`:' docs/design.md) >&2; then
    echo "docs/design.md lists other folders or dependencies (>) than this script (<)" >&2
    bad=1
fi
types=$(find src io analysis -name '*.h' -exec sed -nE 's/^\} (vj_[a-z0-9_]+);$/\1/p; s/^typedef struct (vj_[a-z0-9_]+) \1;$/\1/p' {} + | sort | uniq -d)
if [ -n "$types" ]; then
    echo "types that several headers define: $types" >&2
    bad=1
fi
if grep -rn --include='*.[ch]' 'pragma omp parallel' src io | grep -v num_threads >&2; then
    echo "parallel regions (above) that do not say num_threads" >&2
    bad=1
fi
exit $bad
