"""For tests/e2e/report_pages.sh: `make STORE` writes inputs for all pages, whole and broken; `check CSV MARKDOWN`
checks what vjepa-report made of them. Both take the numbers from the functions here."""
import csv, ctypes, glob, json, math, os, sys
import h5py, numpy as np

xxh = ctypes.CDLL('libxxhash.so.0')
xxh.XXH3_64bits.restype = ctypes.c_uint64

STUDENT = {1: 12.706204736174694, 2: 4.302652729749462, 4: 2.7764451051977934}  # 97.5 % quantiles of Student's t
WILSON = 1.959963984540054
GRID = (2, 4, 4)
SHARES = (100, 50, 10, 5)


# ---------------------------------------------------------------------------------------------------- inputs

def results():
    rows = []
    for task, factor in (('K400', 1.0), ('colour <b>', 0.5)):
        for encoder, best in (('V-JEPA', 80.0), ('random', 31.5)):
            for share in SHARES:
                seeds = 3 if encoder == 'V-JEPA' else 1
                rows.append(dict(task=task, encoder=encoder, pooling='attentive', labels=share, seeds=seeds,
                                 top1_mean=factor * best * (0.5 + share / 200), top1_std=1.25 if seeds > 1 else 0.0,
                                 top1_error=1.0, effective_rank=40.5 if encoder == 'V-JEPA' else None,
                                 training_clips=10 * share, validation_clips=400,
                                 notes=['3 validation clips are training clips']))
    rows[0]['differences'] = [dict(minus='random', validation_clips=400, seeds=3, difference=48.5, std=1.5,
                                   t_interval=[44.75, 52.25], bootstrap_interval=[43.0, 54.0], mcnemar_p=[1e-9, 0.002],
                                   verdict='V-JEPA is better'),
                              dict(minus='other <i>', seeds=1, difference=-1.0, std=None, t_interval=None,
                                   bootstrap_interval=[-3, 1], mcnemar_p=[0.5, 0.5], verdict='not told apart'),
                              dict(minus='broken', difference=None)]
    rows[0]['confusion'], rows[0]['classes'] = [[8, 2], [1, 3]], ['run', 'sit']
    return rows


CLASSES = ['wave', 'clap', 'jump', 'run', 'walk', 'sit down', 'stand <up>', 'open', 'close', 'push', 'pull', 'throw']


def predicted(encoder, seed):
    """Return labels and predicted classes of 240 clips. A wrong one is one of the next three classes."""
    draw = np.random.default_rng(seed)
    labels = np.arange(240) % len(CLASSES)
    wrong = draw.uniform(size=240) < (0.25 if encoder == 'V-JEPA' else 0.7)
    return labels, np.where(wrong, (labels + draw.integers(1, 4, size=240)) % len(CLASSES), labels)


def make_predictions(path):
    """Write predictions.h5 as docs/formats.md describes it."""
    row = np.dtype(dict(names=['clip', 'content', 'label', 'rank', 'views', 'class', 'probability'],
                        formats=['<i8', '<u8', '<i4', '<i4', '<i4', ('<i4', (5,)), ('<f4', (5,))],
                        offsets=[0, 8, 16, 20, 24, 28, 48], itemsize=72))
    with h5py.File(path, 'w') as f:
        for key, value in dict(format='vjepa-predictions', code='test', date='2026-01-01', hosts='here', config='').items():
            f.attrs[key] = np.bytes_(value) if value else np.bytes_(' ')
        f.attrs['version'], f.attrs['ranks'], f.attrs['complete'] = np.int64(1), np.int64(1), np.int64(1)
        for number, (encoder, seed) in enumerate((e, s) for e in ('V-JEPA', 'random') for s in ((1, 2, 3) if e == 'V-JEPA' else (1,))):
            labels, classes = predicted(encoder, seed)
            rows = np.zeros(240, row)
            rows['clip'], rows['label'], rows['views'] = np.arange(240), labels, 1
            rows['rank'] = np.where(classes == labels, 0, 1)
            rows['class'] = (classes[:, None] + np.arange(5)) % len(CLASSES)
            rows['class'][:, 1] = np.where(classes == labels, rows['class'][:, 1], labels)
            rows['probability'] = [0.5, 0.2, 0.1, 0.05, 0.05]
            table = f.create_dataset(f'heads/colour <b>.attentive.100.{encoder}.{seed}', data=rows)
            for key, value in dict(task='colour <b>', encoder=encoder, kind='attentive', features='stored', preset='code',
                                   precision='fp32', split='class', description='made up').items():
                table.attrs[key] = np.bytes_(value)
            table.attrs['labels'] = 100.0
            for key in ('seed', 'encoder_digest', 'train_digest', 'store_digest', 'split_digest', 'class_digest', 'probe_digest'):
                table.attrs[key] = np.uint64(seed)
            for key, value in dict(number=number, training_samples=10, counted=240, failed=0, classes=len(CLASSES)).items():
                table.attrs[key] = np.int64(value)
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(16)
        kind.set_cset(h5py.h5t.CSET_UTF8)
        names = h5py.Dataset(h5py.h5d.create(f.create_group('classes').id, 'colour <b>'.encode(), kind,
                                             h5py.h5s.create_simple((len(CLASSES),))))
        names.id.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(CLASSES, 'S16'), kind)
        names.attrs['xxh3'] = np.uint64(xxh.XXH3_64bits(np.array(CLASSES, 'S16').tobytes(), ctypes.c_size_t(16 * len(CLASSES))))


def eigenvalues(name):
    values = 48.0 * np.arange(1, 49.0) ** (-1.0 if name == 'pretrained' else -2.0)
    values[-1] = -1e-13
    return values


def projections(clips):
    draw = np.random.default_rng(7)
    return draw.normal(size=(clips, int(np.prod(GRID)), 4)).astype('f4')


def alike():
    return np.exp(-np.abs(np.subtract.outer(np.arange(3.0), np.arange(3.0))))


def paths():
    draw = np.random.default_rng(8)
    return 100 * draw.uniform(size=(2, 3, 5))


def begin(path, command):
    f = h5py.File(path, 'w')
    for key, value in dict(format='vjepa-analysis', command=command, code='test', date='2026-01-01', hosts='here').items():
        f.attrs[key] = np.bytes_(value)
    f.attrs['version'], f.attrs['ranks'] = np.int64(1), np.int64(1)
    return f


def end(f):
    f.attrs['complete'] = np.int64(1)
    f.close()


def make_spectra(store):
    clips = h5py.File(store + '/index.h5')['clips']
    f = begin('spectra.h5', 'spectrum')
    f['clip'] = np.arange(6, dtype='i8')
    f['clip_xxh3'] = clips['xxh3'][:6]
    for name in ('pretrained', 'random'):
        g = f.create_group('representations/' + name)
        g['eigenvalues'] = eigenvalues(name)
        g.attrs['name'], g.attrs['origin'] = np.bytes_(name), np.bytes_('gone.h5')
        tokens = int(np.prod(GRID))
        g['projections'] = projections(6)
        if name == 'random':  # the same grid behind a token without a place
            tokens += 1
            del g['projections']
            g['projections'] = np.concatenate([np.full((6, 1, 3), 1e6, 'f4'), projections(6)[:, :, :3]], axis=1)
            g.attrs['grid'] = np.array(GRID, 'u8')
        for key, value in dict(width=48, tokens=tokens, rows=6 * tokens).items():
            g.attrs[key] = np.int64(value)
        for key, value in dict(effective_rank=20.5, rankme=21.5, participation_ratio=9.25, stable_rank=3.5).items():
            g.attrs[key] = value
        g.attrs['power_law_exponent'] = 1.0 if name == 'pretrained' else math.nan
    end(f)


def make_analyses(store):
    make_spectra(store)
    f = begin('compare.h5', 'compare')
    f['compare/names'] = np.array(['layer 1', 'layer 6', 'layer 12'], dtype='S24')
    f['compare/cka'], f['compare/cka_unbiased'], f['compare/procrustes'] = alike(), alike() - 0.01, 1 - alike() - 1e-9
    end(f)
    f = begin('ridge.h5', 'ridge')
    f['ratio'], f['labels'] = 10.0 ** np.arange(-4, 1), np.array([100.0, 10.0])
    f['ridge/enc/colour/top1'], f['ridge/enc/colour/loo_error'] = paths(), 100 - paths()
    end(f)
    end(begin('knn.h5', 'knn'))
    json.dump({'command': 'knn', 'probes': [{'encoder': 'enc', 'k': 20, 'top1': 71.25}]}, open('knn.json', 'w'))
    end(begin('classes.h5', 'classes'))  # without the classes.json that belongs to it


def make_broken():
    os.mkdir('broken')
    begin('broken/half.h5', 'spectrum').close()
    f = begin('broken/shape.h5', 'compare')
    f['compare/names'], f['compare/cka'] = np.array(['a', 'b'], dtype='S4'), np.zeros((3, 3))
    end(f)
    f = begin('broken/nothing.h5', 'spectrum')
    f.create_group('representations/a')
    end(f)
    f = begin('broken/ridge.h5', 'ridge')
    f['ratio'], f['labels'], f['ridge/e/t/top1'] = np.ones(5), np.ones(2), np.zeros((1, 1, 1))
    end(f)
    f = begin('broken/nan.h5', 'ridge')
    f['ratio'], f['labels'] = np.ones(5), np.ones(2)
    f['ridge/e/t/top1'], f['ridge/e/t/loo_error'] = np.full((2, 1, 5), math.nan), np.zeros((2, 1, 5))
    end(f)
    data = open('spectra.h5', 'rb').read()
    open('broken/cut.h5', 'wb').write(data[:len(data) // 2])
    open('broken/bench.json', 'w').write('{\n "bench": "step",\n "profile": [')
    open('broken/empty.json', 'w').write('{"bench": "odd", "profile": [1, null, {}], "phases": 7}')
    open('broken/scaling.csv', 'w').write('ranks,clips_per_s\n1,10\n2,nan\n4,1,2\nx,3\n')
    open('broken/rates.csv', 'w').write('ranks,step_s\n1,10\n')
    os.mkdir('broken/results')
    open('broken/results/results.json', 'w').write('[{"task": "a", "encoder": "b", "top1_mean": 50}, {"task": 7}, [], 3]')
    open('broken/results.csv', 'w').write('task,encoder,pooling,labels_percent,top1_mean_percent\n"a,b",e,knn,100,50\na,e\nb,e,knn,1,x\n')
    os.mkdir('broken/store.clips')
    open('broken/store.clips/index.h5', 'wb').write(data[:1000])


def make(store):
    os.makedirs('campaign')
    json.dump(results(), open('campaign/results.json', 'w'), indent=2)
    make_predictions('campaign/predictions.h5')
    with open('paper.csv', 'w') as out:
        out.write('table,row,column,value,sd,model,protocol,views\n6,V-JEPA,K400,82.0,,ViT-H/16,"probe, 20 epochs",16x8x3\n'
                  '7,V-JEPA,K400 5%,67.0,0.2,ViT-H/16,probe,16x2x3\n6,DINOv2,K400,83.4,,ViT-g/14,probe,16x8x3\n')
    make_analyses(store)
    with open('scaling.csv', 'w') as out:
        out.write('ranks,nodes,clips_per_s,step_s,step_s_min,step_s_max,study\n')
        for study, loss in (('strong', 0.9), ('weak', 0.97)):
            for k, ranks in enumerate((1, 2, 4, 8)):
                out.write(f'{ranks},{(ranks + 3) // 4},{10 * ranks * loss ** k},1.2,1.1,1.4,{study}\n')
    with open('model.csv', 'w') as out:
        out.write('ranks,nodes,study,source,clips_per_s,step_s,efficiency,node_hours_per_1000_steps\n'
                  '8,1,simulated,model,100,1,1,0.2778\n16,2,simulated,model,180,1.1,0.9,0.6111\n')
    with open('phases.csv', 'w') as out:
        out.write('phase,study,tensor,ranks,min_s,mean_s,max_s,slowest_rank,slowest_node\n'
                  'forward,weak,1,2,0.5,0.625,0.75,1,node17\n')
    make_broken()


# ---------------------------------------------------------------------------------------------------- checks

def rows_of(folder, name):
    return list(csv.DictReader(open(f'{folder}/{name}.csv')))


def same(what, got, want, tolerance=1e-9):
    ok = abs(float(got) - want) <= tolerance * max(1.0, abs(want))
    assert ok, f'{what}: {got}, expected {want}'


def check_campaign(folder):
    shown = rows_of(folder, 'results')
    assert len(shown) == len(results())
    for got, row in zip(shown, results()):
        assert (got['task'], got['encoder'], got['probe']) == (row['task'], row['encoder'], 'attentive'), got
        same('top-1', got['top-1 (%)'], row['top1_mean'])
        p, n, q = row['top1_mean'] / 100, 400, WILSON
        centre, half = (p + q * q / 2 / n) / (1 + q * q / n), q / (1 + q * q / n) * math.sqrt(p * (1 - p) / n + q * q / 4 / n / n)
        same('Wilson', got['Wilson low (%)'], 100 * (centre - half))
        same('Wilson', got['Wilson high (%)'], 100 * (centre + half))
        if row['seeds'] == 3:
            same('t', got['t high (%)'], row['top1_mean'] + STUDENT[2] * 1.25 / math.sqrt(3), 1e-7)
        else:
            assert got['t low (%)'] == got['t high (%)'] == '', got
    published = [(r['published in'], float(r['paper (%)']), float(r['ours (%)']), float(r['difference (points)']))
                 for r in rows_of(folder, 'published')]
    ours = 80 * (0.5 + 5 / 200)
    assert published == [('table 6, V-JEPA, ViT-H/16', 82.0, 80.0, -2.0), ('table 7, V-JEPA, ViT-H/16', 67.0, ours, ours - 67.0)], published
    confusion = [float(r['value']) for r in rows_of(folder, 'confusion-K400-V-JEPA')]
    assert confusion == [80.0, 20.0, 25.0, 75.0], confusion
    counts = np.zeros((len(CLASSES), len(CLASSES)))
    for seed in (1, 2, 3):
        np.add.at(counts, predicted('V-JEPA', seed), 1)
    shown = rows_of(folder, 'confusion-colour--b--V-JEPA')
    assert [r['row'] for r in shown[::len(CLASSES)]] == CLASSES, shown[:2]
    assert np.allclose([float(r['value']) for r in shown], (100 * counts / counts.sum(1, keepdims=True)).ravel()), shown
    classes = [r for r in rows_of(folder, 'classes') if (r['task'], r['encoder']) == ('colour <b>', 'V-JEPA')]
    assert {r['class']: float(r['top-1 (%)']) for r in classes} == {
        name: 100 * counts[k, k] / counts[k].sum() for k, name in enumerate(CLASSES)}, classes
    assert [float(r['top-1 (%)']) for r in classes] == sorted(float(r['top-1 (%)']) for r in classes), classes
    assert all(float(r['clips']) == 20 and float(r['low (%)']) < float(r['top-1 (%)']) < float(r['high (%)']) for r in classes), classes
    apart = [(r['minus'], r['difference (points)'], r['seeds low (points)'], r['clips high (points)'], r['p most'], r['verdict'])
             for r in rows_of(folder, 'differences')]
    assert apart == [('random', '48.5', '44.75', '54', '0.002', 'V-JEPA is better'), ('other <i>', '-1', '', '1', '0.5', 'not told apart')], apart
    worst = [r for r in rows_of(folder, 'confused') if (r['task'], r['encoder']) == ('colour <b>', 'V-JEPA')]
    np.fill_diagonal(counts, 0)
    assert len(worst) == 5 and [float(r['clips']) for r in worst] == sorted(counts.ravel())[:-6:-1], worst
    assert counts[CLASSES.index(worst[0]['class']), CLASSES.index(worst[0]['taken for'])] == counts.max(), worst


def check_spectra(folder):
    for name in ('pretrained', 'random'):
        want = eigenvalues(name)
        want = want / want[want > 0].sum()
        got = [r for r in rows_of(folder, 'eigenvalues') if r['series'] == name]
        assert len(got) == 48
        for k, row in enumerate(got[:-1]):
            same('eigenvalue', row['share of the variance'], want[k])
    measures = rows_of(folder, 'spectra')
    assert [m['representation'] for m in measures] == ['pretrained', 'random'], measures
    assert float(measures[0]['RankMe']) == 21.5 and measures[1]['power law exponent'] == '', measures


def check_analyses(folder):
    for name, want in (('cka', alike()), ('cka_unbiased', alike() - 0.01), ('procrustes', 1 - alike())):
        got = rows_of(folder, name)
        assert got[1]['row'] == 'layer 1' and got[1]['column'] == 'layer 6', got
        for row, value in zip(got, want.ravel()):
            same(name, row['value'], value)
    mean = paths().mean(axis=1).ravel()
    got = rows_of(folder, 'top1')
    assert len(got) == len(mean)
    for row, value in zip(got, mean):
        same('ridge', row['top-1 (%)'], value)
    assert float(rows_of(folder, 'knn-probes')[0]['top1']) == 71.25


def check_benches(folder):
    bench = json.load(open('bench.json'))
    points = {r['series']: r for r in rows_of(folder, 'roofline')}
    first = next(r for r in bench['profile'] if r['gflops'] and r['gb_s'])
    got = points[f"{first['operation']} {first['phase']}"]
    same('intensity', got['intensity (FLOP / byte)'], first['gflops'] / first['gb_s'])
    same('rate', got['rate (GFLOP/s)'], first['gflops'])
    roof = [r for r in rows_of(folder, 'roofline') if r['series'] == 'the machine']
    same('ridge', roof[1]['intensity (FLOP / byte)'], bench['peak_gflops'] / bench['copy_gb_s'])
    assert len(rows_of(folder, 'step-profile')) == len(bench['profile'])
    model = rows_of(folder, 'scaling-2')
    assert [(r['ranks'], r['efficiency (%)'], r['cost of 1000 steps (node hours)']) for r in model] == [('8', '100', '0.2778'), ('16', '90', '0.6111')], model
    phase = rows_of(folder, 'scaling-phases')[0]
    assert (phase['phase'], phase['most (s)'], phase['slowest rank'], phase['its node']) == ('forward', '0.75', '1', 'node17'), phase
    for row, (study, loss, k) in zip(rows_of(folder, 'scaling'), [(s, l, k) for s, l in (('strong', 0.9), ('weak', 0.97)) for k in range(4)]):
        assert row['study'] == study and row['ranks'] == str(2 ** k), row
        same('efficiency', row['efficiency (%)'], 100 * loss ** k)


def check_tokens(folder):
    """Check that a token before the grid does not change the picture, and check the colour in the middle of each token:
    each component is scaled from its 2 % to its 98 % quantile over the clips shown. JPEG changes colours a little."""
    from PIL import Image
    picture = np.asarray(Image.open(folder + '/tokens-pretrained.jpg').convert('RGB'))
    assert open(folder + '/tokens-random.jpg', 'rb').read() == open(folder + '/tokens-pretrained.jpg', 'rb').read()
    values = projections(6)[:4, :, :3]
    flat = np.sort(values.reshape(-1, 3), axis=0)
    low, high = flat[(len(flat) - 1) * 2 // 100], flat[(len(flat) - 1) * 98 // 100]
    for clip in range(4):
        for t in range(GRID[0]):
            for y in range(GRID[1]):
                for x in range(GRID[2]):
                    value = values[clip, (t * GRID[1] + y) * GRID[2] + x]
                    want = np.clip((value - low) / (high - low), 0, 1) * 255
                    at = (116 + y * 28 + 14, clip * 240 + t * 116 + x * 28 + 14)
                    assert np.abs(picture[at] - want).max() <= 6, (clip, t, y, x, picture[at], want)
    frame = picture[:112, :112].reshape(-1, 3).astype(int)
    assert ((frame[:, 0] > 200) & (frame[:, 1] < 60)).any(), 'the red square of clip 0 is not in its frame'


if __name__ == '__main__':
    if sys.argv[1] == 'make':
        make(sys.argv[2])
    else:
        check_campaign(sys.argv[2])
        check_spectra(sys.argv[2])
        check_analyses(sys.argv[2])
        check_benches(sys.argv[2])
        check_tokens(sys.argv[3])
        assert glob.glob(sys.argv[3] + '/report.md')
