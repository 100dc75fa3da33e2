#!/usr/bin/env bash
# Checks that h5py and h5dump can read a clip store and get the pixels that our reader gives, raw and, with the plugin, jpeg, and that
# vjepa-inspect prints its content and finds damage.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
python=/usr/bin/python3
plugins=$bin/../hdf5-plugins

run 2 "$tools/make_store" raw.clips 70 4 36 40
run 3 "$tools/make_store" jpeg.clips 70 4 36 40 0 90
run 1 "$tools/make_store" alone.clips 70 4 36 40 0 90
for file in index.h5 shard-00000.h5 shard-00002.h5; do # no date, no host, no rank is in them
    cmp "jpeg.clips/$file" "alone.clips/$file" || fail "$file depends on the ranks that wrote it"
done

cat >compare.py <<'PY'
"""STORE DUMP: every clip of the store by h5py, column by column as index.h5 says, against the bytes in DUMP."""
import sys
import h5py
import numpy as np
store, dump = sys.argv[1], np.fromfile(sys.argv[2], np.uint8)
at = 0
with h5py.File(store + "/index.h5") as index:
    clips = {name: column[:] for name, column in index["clips"].items()}
    assert index.attrs["format"].decode() == "vjepa clips" and index.attrs["version"] == 2 and index.attrs["complete"] == 1
    assert [name.decode() for name in index.attrs["label_names"]] == ["colour", "motion"]
    assert len(clips["shard"]) == 70 and clips["label"].shape == (70, 2)
    assert (clips["label"][:, 0] == np.arange(70) % 4).all() and (clips["source"] == np.arange(70)).all()
    assert index["shards/clips"][:].tolist() == [32, 32, 6]
    lossy = index.attrs["codec"].decode() == "jpeg"
    assert (np.isfinite(clips["psnr"]) == lossy).all()
squares = []
for i in range(70):
    with h5py.File("%s/shard-%05d.h5" % (store, clips["shard"][i])) as shard:
        frames = shard["clips/%dx%d/frames" % (clips["height"][i], clips["width"][i])]
        assert frames.dtype == np.uint8 and frames.chunks == (1, 4, 36, 40, 3)
        row = clips["row"][i]
        clip = frames[row]
        where = frames.id.get_chunk_info_by_coord((row, 0, 0, 0, 0))
        assert (where.byte_offset, where.size) == (clips["offset"][i], clips["bytes"][i])
        assert shard["files/source"].shape == shard["files/verdict"].shape
        lines = shard["files/ledger"][()].decode().splitlines()
        assert len(lines) == shard["files/source"].shape[0] and set(lines) == {"made"}
    assert (dump[at:at + clip.size] == clip.reshape(-1)).all(), "clip %d differs" % i
    at += clip.size
    if lossy:
        squares.append(clip.astype(float))
assert at == dump.size
if lossy:  # the PSNR that is said is that of these pixels, against those of the raw store
    with h5py.File("raw.clips/index.h5") as index:
        for i in range(70):
            with h5py.File("raw.clips/shard-%05d.h5" % index["clips/shard"][i]) as shard:
                error = np.mean((shard["clips/36x40/frames"][index["clips/row"][i]] - squares[i]) ** 2)
            psnr = 10 * np.log10(255 ** 2 / error)
            assert abs(psnr - clips["psnr"][i]) < 1e-4 and psnr > 25, (psnr, clips["psnr"][i])
print("70 clips are the same")
PY
for codec in raw jpeg; do
    "$tools/dump_store" $codec.clips >$codec.u8
    HDF5_PLUGIN_PATH=$plugins "$python" compare.py $codec.clips $codec.u8 >$codec.log 2>&1 || fail "$codec by h5py: $(tail -n 3 $codec.log)"
done
cmp -s raw.u8 jpeg.u8 && fail "jpeg lost nothing"
(($(stat -c %s jpeg.clips/shard-00000.h5) * 2 < $(stat -c %s raw.clips/shard-00000.h5))) || fail "jpeg is not smaller"
if HDF5_PLUGIN_PATH=$scratch "$python" compare.py jpeg.clips jpeg.u8 >none.log 2>&1; then fail "h5py without the plugin"; fi

# h5dump prints the numbers that numpy has.
for codec in raw jpeg; do
    HDF5_PLUGIN_PATH=$plugins h5dump -d /clips/36x40/frames -s 2,1,0,0,0 -c 1,1,36,40,3 -b LE -o $codec.bin \
        $codec.clips/shard-00001.h5 >/dev/null 2>&1 || fail "h5dump of $codec"
    cmp $codec.bin <(tail -c +$((((32 + 2) * 4 + 1) * 36 * 40 * 3 + 1)) $codec.u8 | head -c $((36 * 40 * 3))) || fail "h5dump of $codec differs"
done
h5dump -A jpeg.clips/index.h5 >index.txt 2>&1 || fail "h5dump of the index"

"$bin/vjepa-inspect" jpeg.clips >inspect.log 2>&1 || fail "inspect: $(cat inspect.log)"
grep -q '^codec: jpeg, quality 90, chroma 420: PSNR [0-9.]* dB on average, [0-9.]* at worst$' inspect.log || fail "no PSNR: $(cat inspect.log)"
"$bin/vjepa-inspect" --verify raw.clips jpeg.clips >verify.log 2>&1 || fail "verify: $(cat verify.log)"
[ "$(grep -c 'verified: 70 blocks, 0 damaged' verify.log)" = 2 ] || fail "verify: $(cat verify.log)"

# A wrong address inside the file: --verify compares with HDF5's own and names shard and row.
"$python" - <<'PY'
import h5py
for name in "index.h5", "shard-00001.h5":
    with h5py.File("alone.clips/" + name, "r+") as file:
        at = 33 if name == "index.h5" else 1
        file["clips/offset"][at] -= 8
PY
status=0
"$bin/vjepa-inspect" --verify alone.clips >verify.log 2>&1 || status=$?
[ $status = 1 ] || fail "a wrong address: exit $status"
grep -q 'shard-00001.h5: row 1 of its clips is said to be .* HDF5 has' verify.log || fail "a wrong address: $(cat verify.log)"
grep -q 'verified: 70 blocks, 2 damaged' verify.log || fail "a wrong address: $(cat verify.log)"
finish
