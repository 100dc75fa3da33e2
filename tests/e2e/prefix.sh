#!/usr/bin/env bash
# Runs pack, pretrain, embed and probe from an installation only: its prefix is read-only and has blanks and quotes in its path, the
# user is another one, and neither the source nor the build folder is there.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
prefix="$scratch/read only 'prefix' ü" work=$scratch/work
build=$(cd "$bin/.." && pwd)
mkdir "$work"
clean_up() { chmod -R u+w "$scratch"; }
cmake --install "$build" --prefix "$prefix" >/dev/null
chmod -R a-w,a+rX "$prefix"
"$tools/make_videos" "$work/videos" 24
cp "$tiny" "$work/tiny.yaml"

cat >"$work/job.sh" <<'END'
set -euo pipefail
prefix=$1
cd "$(dirname "$0")"
export PATH=$prefix/bin:$PATH HOME=$PWD TMPDIR=$PWD
unset VJEPA_DECODE VJEPA_SOURCE VJEPA_BIN
id -un >user
step() { # RANKS COMMAND...
    local ranks=$1
    shift
    timeout 600 mpirun -n "$ranks" "$@" >step.log 2>&1 || { echo "$* ended with $?: $(tail -n 5 step.log)" >&2; exit 1; }
}
vjepa-pretrain "$prefix/share/vjepa/configs/quickstart.yaml" --print-config >/dev/null
vjepa-plan "$prefix/share/vjepa/configs/vitl16_224.yaml" --cluster "$prefix/share/vjepa/configs/cluster_example.yaml" >plan.txt
pack=(tiny.yaml --set 'pack.lists=[videos/list.csv]' --set pack.frames=4 --set pack.short_side=36 --set pack.codec=jpeg)
step 2 vjepa-pack "${pack[@]}" --set pack.store=train.clips --set pack.windows=2
step 1 vjepa-pack "${pack[@]}" --set pack.store=val.clips
step 2 vjepa-pretrain tiny.yaml
for set in train val; do
    step 2 vjepa-embed tiny.yaml --encoder run/step_00000024.h5 --store $set.clips --out $set.h5
done
step 2 vjepa-probe tiny.yaml pretrained=train.h5,val.h5 --set 'probe.tasks=[scene]' --out results
vjepa-inspect --verify run/step_00000024.h5 >/dev/null
END

# Root works as a user without root's rights, with empty folders mounted over source and build. Other users work as themselves.
job=(bash "$work/job.sh" "$prefix")
if [ "$(id -u)" -eq 0 ]; then
    chmod 711 "$scratch"
    chown -R nobody "$work"
    nobody=(setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups env -u OMPI_ALLOW_RUN_AS_ROOT -u OMPI_ALLOW_RUN_AS_ROOT_CONFIRM)
    mkdir empty
    # shellcheck disable=SC2016
    hide='mount --bind empty "$1" && mount --bind empty "$2" && [ ! -e "$1/bin" ] && [ ! -e "$2/CMakeLists.txt" ] && exec "${@:3}"'
    if unshare --mount true 2>/dev/null; then
        job=(unshare --mount bash -c "$hide" hide "$build" "$source_dir" "${nobody[@]}" "${job[@]}")
    else
        echo "not tested: this system permits no mount namespace, so source and build folder stay visible"
        job=("${nobody[@]}" "${job[@]}")
    fi
else
    echo "not tested: only root can work as another user, and hide source and build folder"
fi
before=$(find "$prefix" -type f -exec cksum {} + | sort | cksum)
"${job[@]}" || fail "the main path from the prefix"
[ "$(cat "$work/user")" = "$([ "$(id -u)" -eq 0 ] && echo nobody || id -un)" ] || fail "it ran as $(cat "$work/user")"
grep -q '^| scene | attentive ' "$work/results/results.md" || fail "no table of results"
[ "$before" = "$(find "$prefix" -type f -exec cksum {} + | sort | cksum)" ] || fail "the prefix was changed"

# With the plugin of the installation other programs can read clips packed as JPEG.
plugin=$(dirname "$(find "$prefix" -name libvjepa_jpeg.so)")
HDF5_PLUGIN_PATH=$plugin /usr/bin/python3 - "$work/train.clips/shard-00000.h5" <<'PY' || fail "h5py with the plugin of the prefix"
import h5py, sys
found = []
h5py.File(sys.argv[1])['clips'].visititems(lambda name, node: found.append(node) if name.endswith('/frames') else None)
assert found and found[0][0].std() > 1
PY
finish
