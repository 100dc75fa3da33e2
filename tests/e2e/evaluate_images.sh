#!/usr/bin/env bash
# Checks the way from pictures in lists and folders as users have them (iNat21, ImageNet, Places205) to a table: classes and their
# names, one frame repeated as often as the encoder needs, the bytes of Pillow's resizing, the same result on any number of ranks.
# In pretraining a picture that is stored once is the same as a clip of repeated frames, also beside videos.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
/usr/bin/python3 - <<'PYTHON'
import json, os
import numpy as np
from PIL import Image
rng = np.random.default_rng(1)
names = ['00000_Animalia_Lumbricus', '00001_Animalia_Sabella', '00002_Plantae_Abies']
lists = {'train': (8, 3), 'val': (4, 20)}
def picture(kind, size):
    a = rng.integers(90, 130, size + (3,)).astype(np.uint8)
    a[size[0] // 4:3 * size[0] // 4, size[1] // 4:3 * size[1] // 4, kind] = 240
    return Image.fromarray(a)
for side, (each, first) in lists.items():
    images, notes, places = [], [], []
    for kind in (2, 0, 1):
        for k in range(each):
            size = (36 + (5 * k + kind) % 23, 60 - (7 * k) % 25)
            number = first + 100 * kind + k
            inat, wnid, scene = (f'{d}/{side}/{n}' for d, n in (('inat', names[kind]), ('imagenet', f'n0{kind}44'), ('', '')))
            scene = f'places/{"abc"[kind]}/scene {side}'
            for folder, name in ((inat, f'{number}.jpg'), (wnid, f'n0{kind}44_{number}.JPEG'), (scene, f'gsun_{number}.jpg')):
                os.makedirs(folder, exist_ok=True)
                picture(kind, size).save(f'{folder}/{name}', format='JPEG', quality=95)
            images.append({'id': number, 'width': size[1], 'file_name': f'{side}/{names[kind]}/{number}.jpg', 'license': 0})
            notes.append({'id': number, 'image_id': number, 'category_id': kind})
            places.append(f'{scene[7:]}/gsun_{number}.jpg {kind}\n')
    kinds = [{'id': i, 'name': n.split('_', 1)[1], 'image_dir_name': n, 'kingdom': n.split('_')[1]} for i, n in enumerate(names)]
    json.dump({'info': {'year': 2021}, 'images': images, 'annotations': notes, 'categories': kinds}, open(f'inat/{side}.json', 'w'))
    open(f'{side}_places205.csv', 'w').writelines(places)
PYTHON
pack() { # STORE SETTINGS-OF-THE-DATASET [WORDS [FRAMES]]
    run 2 "$bin/vjepa-pack" "$tiny" --set pack.frames="${4:-1}" --set pack.short_side=0 --set pack.store="$1" --set "pack.datasets=[{$2}]" \
        >pack.log 2>&1 || fail "pack $1: $(cat pack.log)"
    [ -z "${3:-}" ] || grep -q "$3" pack.log || fail "pack $1: no '$3' in $(cat pack.log)"
}
evaluate() { # RANKS OUT DATASET [ARGS...]
    local ranks=$1 out=$2 set=$3
    shift 3
    run "$ranks" "$bin/vjepa-evaluate" "$tiny" a=random:fan_in:3 --train "$set.train.clips" --validation "$set.val.clips" --out "$out" \
        --set 'probe.tasks=[]' --set 'probe.labels=[100]' --set evaluate.image_frames=4 --set probe.epochs=2 "$@" >evaluate.log 2>&1 ||
        fail "evaluate $out: $(cat evaluate.log)"
}
for side in train val; do
    pack "inat.$side.clips" "name: inat21, list: inat/$side.json, root: inat" \
        '3 classes: 0 00000_Animalia_Lumbricus, 1 00001_Animalia_Sabella, 2 00002_Plantae_Abies'
    pack "imagenet.$side.clips" "name: in1k, format: imagenet, root: imagenet/$side" '3 classes: 0 n0044, 1 n0144, 2 n0244'
    pack "places.$side.clips" "name: places205, list: ${side}_places205.csv, root: places"
done

evaluate 1 one inat
grep -q '24 training samples .* 12 samples of 1 view to measure\|24 of 24 training samples' evaluate.log || fail "samples: $(cat evaluate.log)"
evaluate 3 three inat --set evaluate.batch=5
same_heads one three
cmp -s one/results.json three/results.json || fail "3 ranks make another table"
decays() { cut -d, -f9 "$1/heads.csv" | sort -u | tr '\n' ' '; } # the released code has a special one for images, the paper does not
[ "$(decays one)" = '0.001 weight_decay ' ] || fail "weight decay: $(decays one)"
for set in imagenet places; do
    evaluate 2 "$set.out" "$set" --set 'probe.pooling=[average]' --set probe.seeds=1 --set evaluate.preset=paper
    [ "$(decays "$set.out")" = '0.01 weight_decay ' ] || fail "weight decay: $(decays "$set.out")"
    [[ $(cut -d, -f10,15 "$set.out/heads.csv" | tail -n 1) == 24,12 ]] || fail "$set: $(cat "$set.out/heads.csv")"
done
grep -q 'the classes have no names in places' places.out/results.md || fail "no word of numbers without names: $(cat places.out/results.md)"

/usr/bin/python3 - <<'PYTHON' || fail "the encoder sees other pictures than Pillow's"
import csv, h5py
import numpy as np
from PIL import Image
paths = {int(r['source']): r['path'] for r in csv.DictReader(open('inat.val.clips/ledger.csv'))}
source, attention = h5py.File('inat.val.clips/index.h5')['clips/source'][()], h5py.File('one/attention.h5')
assert attention['frames'].shape == (4, 1, 2, 32, 32, 3), attention['frames'].shape
for clip, frames in zip(attention['clip'][()], attention['frames'][()]):
    path = paths[int(source[clip])]
    image = Image.open(path if path.startswith('inat/') else f'inat/{path}').convert('RGB')
    w, h = image.size
    size = (36, 36 * h // w) if w <= h else (36 * w // h, 36)
    left, top = round((size[0] - 32) / 2), round((size[1] - 32) / 2)
    want = np.asarray(image.resize(size, Image.BILINEAR).crop((left, top, left + 32, top + 32)))
    assert (frames[0] == want).all(), (path, np.abs(frames[0].astype(int) - want).max())
PYTHON

# vjepa-embed shows the centre view of an evaluation to the encoder.
evaluate 1 centre inat --set probe.features=stored --keep-features
run 2 "$bin/vjepa-embed" "$tiny" --encoder random:fan_in:3 --store inat.train.clips --out inat.h5 --set evaluate.image_frames=4 >embed.log 2>&1 ||
    fail "vjepa-embed of images: $(cat embed.log)"
/usr/bin/python3 - <<'PYTHON' || fail "vjepa-embed makes other features of images"
import h5py
ours, embed = h5py.File('centre/features/a-0-0.h5'), h5py.File('inat.h5')
row = {clip: i for i, clip in enumerate(embed['clip'][:])}
assert len(row) == len(ours['clip']) == 24 and b'4 equal frames of 32 x 32, centre of short side 36' in embed.attrs['preprocessing']
for i, clip in enumerate(ours['clip'][:]):
    for name in 'features', 'label', 'clip_xxh3':
        assert ours[name][i].tobytes() == embed[name][row[clip]].tobytes(), (name, clip)
PYTHON
# vjepa-probe recognises features of images and takes the weight decay for images.
for preset in code paper; do
    run 1 "$bin/vjepa-probe" "$tiny" a=inat.h5,inat.h5 --out "stored-$preset" --set 'probe.tasks=[]' --set 'probe.labels=[100]' --set probe.seeds=1 \
        --set 'probe.pooling=[average]' --set probe.epochs=1 --set evaluate.preset=$preset >probe.log 2>&1 || fail "vjepa-probe of images: $(cat probe.log)"
done
grep -aq 'weight decay 0.001 to 1e-06' stored-code/predictions.h5 || fail "weight decay of images in vjepa-probe, as released"
grep -aq 'weight decay 0.01 to 1e-06' stored-paper/predictions.h5 && grep -q 'evaluate.preset paper: here it settles' stored-paper/results.md ||
    fail "weight decay of images in vjepa-probe, by the paper: $(cat stored-paper/results.md)"
refused 2 'images are shown as evaluate.image_frames, 16 frames, but the encoder is to see data.frames, 4' run 1 "$bin/vjepa-embed" "$tiny" \
    --encoder random:fan_in:3 --store inat.train.clips --out x.h5

# Pretraining on pictures that are stored once has the bits of training on clips that have the frame four times.
pack repeated.clips "name: inat21, list: inat/train.json, root: inat" '' 4
watch=(--set watch.every=3 --set 'watch.train=[inat.train.clips]' --set 'watch.validation=[inat.val.clips]' --set watch.epochs=1)
for store in inat.train repeated; do
    pretrain 2 "$store.run" --set "data.train=[$store.clips]" --set train.stop_after=5 "${watch[@]}" >"$store.log" 2>&1 || fail "$store: $(cat "$store.log")"
done
grep -q 'classes, a probe of weight decay 0.001$' inat.train.log || fail "the watch of pictures: $(grep watch: inat.train.log)"
"$bin/vjepa-inspect" --compare {inat.train,repeated}.run/step_00000005.h5 >compare.log 2>&1 || fail "repeated frames train otherwise: $(cat compare.log)"
cut -d, -f3 repeated.run/metrics.csv | cmp - <(cut -d, -f3 inat.train.run/metrics.csv) || fail "the losses differ"
# The in-run watch shows pictures to the encoder in the way of vjepa-embed.
for side in train val; do
    run 2 "$bin/vjepa-embed" "$tiny" --encoder inat.train.run/step_00000005.h5 --store "inat.$side.clips" --out "watched-$side.h5" \
        --set evaluate.image_frames=4 >embed.log 2>&1 || fail "vjepa-embed: $(cat embed.log)"
done
/usr/bin/python3 - <<'PYTHON' || fail "the watch of pictures: $(cut -d, -f1,14- inat.train.run/metrics.csv)"
import csv, collections, h5py
import numpy as np
rows = {int(r['step']): r for r in csv.DictReader(open('inat.train.run/metrics.csv'))}
assert [s for s in rows if rows[s]['watch_knn']] == [1, 3, 5] == [s for s in rows if rows[s]['watch_probe']], rows
train, val = (h5py.File(f'watched-{side}.h5') for side in ('train', 'val'))
x, q = (f['features'][()].astype(float).mean(1) for f in (train, val))
x, q = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, q))
right = 0
for row, label in zip(q @ x.T, val['label'][:, 0]):
    nearest = [train['label'][i, 0] for i in np.argsort(-row, kind='stable')[:20]]
    right += max(collections.Counter(nearest).items(), key=lambda c: (c[1], -nearest.index(c[0])))[0] == label
assert abs(float(rows[5]['watch_knn']) - 100 * right / len(q)) < 0.01, (rows[5]['watch_knn'], right, len(q))
PYTHON
make_store videos.clips 40
run 1 "$tools/make_store" other.clips 12 6 36 40
pretrain 2 mixed --set 'data.train=[videos.clips, inat.train.clips]' --set 'data.weights=[made=1, inat21=1]' --set train.stop_after=5 \
    >mixed.log 2>&1 || fail "videos and pictures: $(cat mixed.log)"
grep -q 'inat21' mixed.log || fail "no word of the pictures: $(cat mixed.log)"
refused 2 'other.clips holds 6 frames a clip' pretrain 1 refused --set 'data.train=[other.clips]' # not pictures
finish
