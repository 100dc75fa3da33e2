#!/usr/bin/env bash
# Checks checkpoints and features with other versions of HDF5: 1.12, 1.14 and 2.0 put the data where the version of this build puts
# them, and each reads what the others wrote. The libraries come from wheels of h5py and have no MPI, which these files do not need. They
# are loaded in place of the one that the programs were built with. Clip stores are not written here, because their writer is compiled
# for one version (H5FD_class_t).
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
python=/usr/bin/python3
skip() { echo "SKIPPED: $*"; exit 77; }

built=$("$bin/vjepa-inspect" --version | sed 's/.*; HDF5 \([0-9.]*\).*/\1/')
case $built in 1.10.*) ;; *) skip "the programs are built with HDF5 $built; this test is for builds with 1.10" ;; esac
ldd "$bin/vjepa-inspect" | grep -q libasan && skip "not under the sanitizers"

# The library of a release of h5py, unpacked; its folder is printed.
fetch() { # H5PY PYTHON
    timeout 120 "$python" -m pip download -q --no-deps --only-binary=:all: --platform "manylinux2014_$(uname -m)" \
        --platform "manylinux_2_28_$(uname -m)" --platform "manylinux2010_$(uname -m)" --python-version "$2" -d "wheels-$1" \
        "h5py==$1" >"pip-$1.log" 2>&1 || return 1
    "$python" -m zipfile -e "wheels-$1"/*.whl "h5py-$1" && echo "$scratch/h5py-$1/h5py.libs"
}

make_store train.clips 40
pretrain 2 "$scratch/run" >run.log 2>&1 || fail "pretraining: $(cat run.log)"
embed() { "$bin/vjepa-embed" "$tiny" --encoder run/step_00000024.h5 --store train.clips --out "$1" --set embed.dtype=f16; }
embed own.h5 >embed.log 2>&1 || fail "embed: $(cat embed.log)"

cat >places.py <<'PY'
"""FILE: the name, place and size of each dataset, by h5py. FILE FILE: their columns hold the same bytes."""
import sys
import h5py
def datasets(path):
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.update({name: (item.id.get_offset(), item.id.get_storage_size(), item[:].tobytes())})
                        if isinstance(item, h5py.Dataset) else None)
    return found
tables = [datasets(path) for path in sys.argv[1:]]
assert tables[0], "no datasets"
for table in tables[1:]:
    assert table == tables[0], [name for name in tables[0] if table.get(name) != tables[0][name]][:5]
print(len(tables[0]), "datasets in the same places with the same bytes")
PY

tried=0
for release in 3.7.0:3.9:1.12 3.11.0:3.11:1.14 3.16.0:3.11:2.0; do
    IFS=: read -r h5py python_version want <<<"$release"
    if ! folder=$(fetch "$h5py" "$python_version"); then
        echo "h5py $h5py cannot be had: $(tail -n 1 "pip-$h5py.log")"
        continue
    fi
    other() ( # COMMAND...: with the other library
        export LD_LIBRARY_PATH=$folder LD_PRELOAD="$tools/libvisit_shim.so:$(compgen -G "$folder/libhdf5-*.so*")"
        export HDF5_DISABLE_VERSION_CHECK=2
        "$@"
    )
    found=$(other "$bin/vjepa-inspect" --version 2>&1 | sed 's/.*; HDF5 \([0-9.]*\).*/\1/')
    [[ $found == "$want".* ]] || { fail "HDF5 $want: the programs say $found"; continue; }
    tried=$((tried + 1))

    # It writes checkpoints in the background and in the foreground, an export, and features.
    dir=run-$want
    other pretrain 2 "$scratch/$dir" >"$dir.log" 2>&1 || fail "HDF5 $found: $(tail -n 3 "$dir.log")"
    other "$bin/vjepa-inspect" --export "export-$want.h5" --dtype bf16 run >/dev/null || fail "HDF5 $found: export"
    other embed "features-$want.h5" >embed.log 2>&1 || fail "HDF5 $found: $(tail -n 3 embed.log)"

    # Ours reads them, and the other way round.
    "$bin/vjepa-inspect" --verify "$dir" "export-$want.h5" "features-$want.h5" >verify.log 2>&1 || fail "by HDF5 $found: $(cat verify.log)"
    "$bin/vjepa-inspect" --compare run "$dir" >compare.log || fail "by HDF5 $found: $(tail -n 3 compare.log)"
    other "$bin/vjepa-inspect" --verify train.clips run own.h5 >verify.log 2>&1 || fail "HDF5 $found reads: $(cat verify.log)"
    other "$bin/vjepa-inspect" --compare run "$dir" >compare.log || fail "HDF5 $found reads: $(tail -n 3 compare.log)"
    "$python" places.py "run/step_00000024.h5" "$dir/step_00000024.h5" || fail "places of HDF5 $found in a checkpoint"
    "$python" places.py own.h5 "features-$want.h5" || fail "places of HDF5 $found in features"
    echo "HDF5 $found: the same as $built"
done
((tried > 0 || failures > 0)) || skip "no library could be had"
finish
