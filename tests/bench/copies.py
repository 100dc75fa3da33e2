#!/usr/bin/python3
"""Measures how well vjepa-pack tells copies from videos that only look alike: copies.py BIN MEDIA SEED [FOLDER]

BIN is the folder of vjepa-pack. MEDIA is a folder of films (from jobs/fetch_demo_media.sh; train was used to choose the
thresholds, val was not). SEED is the seed of the random scenes. The script makes source videos of several kinds and
copies of each in several ways, and packs them all. For every kind of pair it prints how many are taken for copies (and
would be dropped), how many are doubtful (kept and listed) and how many different. It needs ffmpeg and ImageMagick, and
takes two minutes on two cores."""
import glob, itertools, os, random, subprocess, sys, tempfile
import h5py, numpy as np

bin_, media, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
folder = sys.argv[4] if len(sys.argv) > 4 else tempfile.mkdtemp(prefix='vjepa-copies.')
os.makedirs(folder, exist_ok=True)
draw = random.Random(seed)
X264 = '-c:v libx264 -preset veryfast -pix_fmt yuv420p -crf 18 -an'


def ffmpeg(arguments):
    subprocess.run(['ffmpeg', '-nostdin', '-y', '-v', 'fatal'] + arguments.split(), cwd=folder, check=False)


sources = {}  # name: group; videos of one group look alike, but are different videos


def source(name, group, arguments):
    if not os.path.exists(f'{folder}/{name}.mp4'):
        ffmpeg(f'{arguments} {X264} {name}.mp4')
    if os.path.exists(f'{folder}/{name}.mp4') and os.path.getsize(f'{folder}/{name}.mp4') > 2000:
        sources[name] = group


for film in sorted(glob.glob(os.path.abspath(media) + '/*.*')):
    stem = os.path.basename(film).split('.')[0]
    length = float(subprocess.run(['ffprobe', '-v', 'quiet', '-show_entries', 'format=duration', '-of', 'csv=p=0', film],
                                  capture_output=True, text=True).stdout.strip() or 0)
    for i in range(min(8, int(length // 3))):
        source(f'film_{stem}_{i}', f'film {stem}', f'-ss {3 * i} -t 3 -i {film} -r 25 -vf scale=320:240')
        if i < 2:
            source(f'grey_{stem}_{i}', f'black and white {stem}', f'-ss {3 * i} -t 3 -i {film} -r 25 -vf scale=320:240,hue=s=0')
for scene in range(2):
    subprocess.run(['convert', '-size', '320x240', '-seed', str(seed * 10 + scene), 'plasma:fractal', '-blur', '0x2', f'bg{scene}.png'],
                   cwd=folder, check=True)
    for i in range(5):
        a, b, c, d = (draw.uniform(20, 250), draw.uniform(20, 180), draw.uniform(10, 60), draw.uniform(-30, 30))
        size, colour = draw.choice((16, 24, 40)), draw.choice(('red', 'white', 'black', 'blue'))
        source(f'fixed_{scene}_{i}', f'fixed camera {scene}',
               f"-loop 1 -t 4 -i bg{scene}.png -f lavfi -i color={colour}:s={size}x{size} -filter_complex "
               f"[0][1]overlay=x='{a:.0f}+{c:.0f}*sin(t*{i + 1})':y='{b:.0f}+{d:.0f}*t' -r 25 -t 4")
    for i in range(3):
        text = '-f lavfi -i color=white:s=320x240:r=25:d=4 -vf drawtext=text=Lecture:fontsize=28:x=20:y=15'
        for k in range(4):
            words = ''.join(draw.choice('abcdefghijklmnop') for _ in range(12))
            text += f",drawtext=text={words}:fontsize=22:x=30:y={70 + 35 * k}:enable='gte(t,{k * 0.9})'"
        source(f'slides_{scene}_{i}', f'text slides {scene}', text)
    for i in range(3):
        source(f'intro_{scene}_{i}', f'repeated intro {scene}',
               f"-f lavfi -i testsrc2=s=320x240:r=25:d=2 -f lavfi -i mandelbrot=s=320x240:r=25:start_x={draw.uniform(-1, 0):.3f}:"
               f"start_y={draw.uniform(-0.6, 0.6):.3f}:start_scale={draw.uniform(0.02, 2):.3f} "
               f'-filter_complex [0][1]concat=n=2:v=1[v];[v]trim=duration=6 -t 6')
    for i in range(3):
        source(f'dark_{scene}_{i}', f'dark {scene}', f'-f lavfi -i life=s=160x120:mold=10:r=25:ratio=0.{i + 2}:seed={seed * 100 + scene * 10 + i}:'
               'death_color=#202020:life_color=#303030 -t 3 -vf scale=320:240')
    for i in range(2):
        source(f'still_{scene}_{i}', f'still picture {scene}', f'-loop 1 -t 3 -i bg{scene}.png -r 25 -vf eq=brightness={0.02 * i}')

copies = {'half the size, crf 35': '-vf scale=160:120 -crf 35', '12 frames a second': '-r 12',
          'brighter, more contrast': '-vf eq=brightness=0.08:contrast=1.2', 'MPEG-4': None,
          'cropped 2 % a side': '-vf crop=iw*0.96:ih*0.96', 'cropped 5 % a side': '-vf crop=iw*0.9:ih*0.9',
          'letterbox': '-vf pad=320:300:0:30', 'mirrored': '-vf hflip', 'first 80 %': None, 'small logo': '-vf drawbox=x=8:y=8:w=30:h=16:color=white:t=fill'}
files = []  # (path, source, how)
for name in sorted(sources):
    files.append((f'{name}.mp4', name, 'original'))
    seconds = float(subprocess.run(['ffprobe', '-v', 'quiet', '-show_entries', 'format=duration', '-of', 'csv=p=0', f'{folder}/{name}.mp4'],
                                   capture_output=True, text=True).stdout.strip() or 3)
    for n, (how, options) in enumerate(copies.items()):
        path = f'{name}.copy{n}.{"avi" if how == "MPEG-4" else "mp4"}'
        if how == 'MPEG-4':
            options = '-c:v mpeg4 -q:v 8'
        if how == 'first 80 %':
            options = f'-t {0.8 * seconds:.2f}'
        if not os.path.exists(f'{folder}/{path}'):
            ffmpeg(f'-i {name}.mp4 -c:v libx264 -preset veryfast -pix_fmt yuv420p {options} -an {path}')
        files.append((path, name, how))
open(f'{folder}/list.csv', 'w').write('path\n' + ''.join(p + '\n' for p, _, _ in files))
open(f'{folder}/pack.yaml', 'w').write('pack: {lists: [list.csv], store: s.clips, short_side: 32, frames: 4, step: 4, windows: 1, '
                                       'duplicates: drop, codec: jpeg, shard_mb: 1000, workers: 2}\n')
subprocess.run(['rm', '-rf', f'{folder}/s.clips'])
subprocess.run([bin_ + '/vjepa-pack', 'pack.yaml'], cwd=folder, check=True, stdout=subprocess.DEVNULL)

bits, valid, motion = {}, {}, {}
for shard in glob.glob(f'{folder}/s.clips/shard-*.h5'):
    f = h5py.File(shard)['files']
    rows = iter(f['motion'][...]) if 'motion' in f else iter(())
    for s, look, ok in zip(f['source'], f['look'][...], f['look_valid'][...]):
        bits[s], valid[s] = np.unpackbits(look.view(np.uint8)).reshape(8, 64), np.array([ok >> i & 1 for i in range(8)], bool)
        motion[s] = next(rows).astype(float) if ok else np.zeros(512)


def variety(s):
    d = [np.mean(bits[s][i] != bits[s][k]) for i in range(8) for k in range(i) if valid[s][i] and valid[s][k]]
    return np.mean(d) if d else 0


varieties = {s: variety(s) for s in bits}


def compare(a, b):  # the same rule as in vj_look_compare()
    both = valid[a] & valid[b]
    if both.sum() < 4:
        return 'different', 1, 0
    distance = np.mean(bits[a][both] != bits[b][both])
    if distance > min(0.1 + 0.5 * min(varieties[a], varieties[b]), 0.25):
        return 'different', distance, 0
    x, y = motion[a], motion[b]
    least = 16 * 0.75**2 * 512
    if x @ x < least and y @ y < least:
        return 'doubtful', distance, 0
    r = x @ y / np.sqrt((x @ x) * (y @ y)) if x.any() and y.any() else 0
    return ('copy' if r >= 0.985 else 'doubtful' if r >= 0.3 else 'different'), distance, r


table, values = {}, {}
for (i, (_, a, how_a)), (k, (_, b, how_b)) in itertools.combinations(enumerate(files), 2):
    if a == b and 'original' in (how_a, how_b):
        kind = 'copy: ' + (how_b if how_a == 'original' else how_a)
        if sources[a].startswith(('still', 'text')):
            kind += ', ' + sources[a][:-2]
    elif a.split('_')[1:] == b.split('_')[1:] and {a.split('_')[0], b.split('_')[0]} == {'film', 'grey'}:
        continue  # not counted: the same footage without its colours
    elif a != b and how_a in ('original', 'half the size, crf 35', 'brighter, more contrast') and how_b == 'original':
        kind = 'different: ' + (sources[a].rsplit(' ', 1)[0] + ', alike' if sources[a] == sources[b] else 'of different scenes')
    else:
        continue
    verdict, distance, r = compare(i, k)
    table.setdefault(kind, {'copy': 0, 'doubtful': 0, 'different': 0})[verdict] += 1
    values.setdefault(kind, []).append(r)
print(f'{len(files)} files, {len(sources)} sources, MEDIA {os.path.basename(os.path.abspath(media))}, seed {seed}\n')
print('| pair | pairs | dropped | doubtful, kept | different, kept |\n|---|---|---|---|---|')
for kind in sorted(table):
    t = table[kind]
    print(f'| {kind} | {sum(t.values())} | {t["copy"]} | {t["doubtful"]} | {t["different"]} |')
if os.environ.get('SHOW'):
    for kind in sorted(values):
        print(kind, np.round(np.percentile(values[kind], [0, 5, 25, 50, 75, 95, 100]), 2))
