#!/usr/bin/env python3
"""Checks that the frames of a clip store are those that ffmpeg shows at the same times.

  compare_frames.py STORE FOLDER FRAMES STEP WINDOWS

STORE is a raw store without random windows that was packed from files of FOLDER with this STEP, these WINDOWS, and
FRAMES per clip. For every packed file without damaged frames, ffprobe lists the times of the frames, the sampling rule
gives the frames of each clip, and ffmpeg decodes the file, picks these frames by time, scales and turns them. The
script fails if the PSNR of a frame is too low, the time of a clip is not that of its first frame, or the number of
frames differs. It prints a row for each file: the worst PSNR, and how many frames have the same bits.
"""
import csv
import math
import os
import subprocess
import sys

import h5py
import numpy

FLAGS = 'bilinear+accurate_rnd+full_chroma_int+bitexact'
# The smallest PSNR in dB. The same version of FFmpeg gives the same bits; decoders of another may round differently.
FLOOR = 60
# The smallest PSNR for files with a display matrix against frames that ffmpeg turned by itself. It turns the stored
# planes before it scales and converts them, so the subsampled chroma lies elsewhere. This tells which way is up; the
# comparison with FLOOR uses frames that were turned after conversion.
TURNED_FLOOR = 35
TURN = {0: '', -90: ',transpose=clock', 90: ',transpose=cclock', 180: ',hflip,vflip', -180: ',hflip,vflip'}


def unescaped(path):
    return path.encode().decode('unicode_escape').encode('latin-1') if '\\' in path else path.encode()


def spread(points, count, low, high):
    """Sample by the published rule: `points` equally spaced places from low to high inclusive, then copies of high,
    `count` in all; clipped to [low, high - 1] and rounded down."""
    at = [low + k * (high - low) / (points - 1) if points > 1 else low for k in range(points)]
    at = (at + [high] * count)[:count]
    return [int(max(min(a, high - 1), low)) for a in at]


def wanted_frames(available, frames, step, windows):
    """Return for each window the numbers of its frames, counted in order of presentation."""
    windows = min(windows, available)
    part, span = available // windows, frames * step
    if part > span:
        return [[i * part + k for k in spread(frames, frames, 0, span)] for i in range(windows)]
    return [[i * part + k for k in spread(part // step, frames, 0, part)] for i in range(windows)]


def frame_times(path):
    """
    Return the presentation times in seconds of the frames of the first video stream, and whether each frame has a later
    time than the one before. That is not so in streams without times, and in joined streams whose clock starts again.
    """
    out = subprocess.run(['ffprobe', '-v', 'quiet', '-select_streams', 'v:0', '-show_entries',
                          'frame=best_effort_timestamp_time', '-of', 'csv=p=0', b'file:' + path],
                         stdout=subprocess.PIPE, check=True).stdout.decode()
    texts = [line.strip(',') for line in out.split('\n') if line]
    times = [math.nan if t in ('', 'N/A') else float(t) for t in texts]
    return times, all(a < b for a, b in zip(times, times[1:]))


def rotation_of(path):
    out = subprocess.run(['ffprobe', '-v', 'quiet', '-select_streams', 'v:0', '-show_entries', 'stream_side_data=rotation',
                          '-of', 'csv=p=0', b'file:' + path], stdout=subprocess.PIPE, check=True).stdout.decode()
    return next((int(t) for t in out.split() if t.lstrip('-').isdigit()), 0)


def ffmpeg_frames(path, times, ascending, numbers, height, width, rotation):
    """Return {number: picture} as ffmpeg decodes them. If rotation is None, ffmpeg turns them by itself."""
    numbers = sorted(set(numbers))
    if not ascending:
        pick = '+'.join(f'eq(n,{n})' for n in numbers)
    else:
        gap = min((b - a for a, b in zip(times, times[1:])), default=1)
        pick = '+'.join(f'between(t,{times[n] - 0.4 * gap:.7f},{times[n] + 0.4 * gap:.7f})' for n in numbers)
    size = (width, height) if rotation is None or rotation % 180 == 0 else (height, width)
    turn = TURN[rotation or 0]
    out = subprocess.run(['ffmpeg', '-nostdin', '-v', 'quiet', '-copyts'] + ['-noautorotate'] * (rotation is not None) +
                         ['-i', b'file:' + path, '-map', '0:v:0', '-vf',
                          f"select='{pick}',scale={size[0]}:{size[1]}:flags={FLAGS},format=rgb24{turn}",
                          '-fps_mode', 'passthrough', '-f', 'rawvideo', '-'], stdout=subprocess.PIPE, check=True).stdout
    pictures = numpy.frombuffer(out, numpy.uint8).reshape(-1, height, width, 3)
    if len(pictures) != len(numbers):
        raise ValueError(f'ffmpeg gives {len(pictures)} frames at {len(numbers)} times')
    return dict(zip(numbers, pictures))


def psnr(a, b):
    error = numpy.mean((a.astype(float) - b) ** 2)
    return 10 * math.log10(255 ** 2 / error) if error else math.inf


def compare_pictures(numbers, clips, pictures):
    """Return (worst PSNR, number of frames with the same bits, number of frames compared)."""
    values = [psnr(picture, pictures[number]) for window, _, stored in clips
              for number, picture in zip(numbers[window], stored)]
    return min(values), values.count(math.inf), len(values)


def compare_file(path, row, clips, frames, step, windows):
    """Compare the clips of a file; return as compare_pictures(). Raise ValueError if anything but pictures is wrong."""
    times, ascending = frame_times(path)
    if len(times) != int(row['frames']):
        raise ValueError(f'the ledger has {row["frames"]} frames, ffprobe {len(times)}')
    numbers = wanted_frames(len(times), frames, step, windows)
    if len(numbers) != len(clips):
        raise ValueError(f'{len(clips)} clips, expected {len(numbers)}')
    for window, pts, _ in clips:
        first = times[numbers[window][0]] - times[0]
        if ascending and abs(pts - first) > 1e-3:
            raise ValueError(f'window {window} begins at {pts} s, expected {first}')
    rotation, size = rotation_of(path), clips[0][2].shape[1:3]
    if rotation:
        worst, _, _ = compare_pictures(numbers, clips, ffmpeg_frames(path, times, ascending, sum(numbers, []), *size, None))
        if worst < TURNED_FLOOR:
            raise ValueError(f'{worst:.1f} dB to frames that ffmpeg turned')
    return compare_pictures(numbers, clips, ffmpeg_frames(path, times, ascending, sum(numbers, []), *size, rotation))


def read_clips(store):
    """Return {source: [(window, pts, frames)]} of a store."""
    clips, shards = {}, {}
    with h5py.File(os.path.join(store, 'index.h5'), 'r') as index:
        c = {name: index['clips'][name][:] for name in ('source', 'window', 'pts', 'height', 'width', 'shard', 'row')}
    for i in range(len(c['source'])):
        number = int(c['shard'][i])
        if number not in shards:
            shards[number] = h5py.File(os.path.join(store, f'shard-{number:05d}.h5'), 'r')
        frames = shards[number][f"clips/{c['height'][i]}x{c['width'][i]}/frames"][int(c['row'][i])]
        clips.setdefault(int(c['source'][i]), []).append((int(c['window'][i]), float(c['pts'][i]), frames))
    return clips


def main():
    store, folder = sys.argv[1:3]
    frames, step, windows = (int(a) for a in sys.argv[3:6])
    clips, failures = read_clips(store), 0
    print(f'{"file":44} {"codec":10} {"clips":11} {"worst dB":>8} {"same":>9}')
    for row in csv.DictReader(open(os.path.join(store, 'ledger.csv'))):
        if row['clips'] == '0' or row['corrupt'] != '0':
            continue
        own = sorted(clips[int(row['source'])], key=lambda c: c[0])
        size = '%dx%dx%d' % ((len(own),) + own[0][2].shape[1:3])
        try:
            path = os.path.join(os.fsencode(folder), unescaped(row['path']))
            worst, same, count = compare_file(path, row, own, frames, step, windows)
            good = worst >= FLOOR
            result = f'{worst:8.1f} {same:4}/{count:<4}' + ('' if good else f' below {FLOOR} dB')
        except ValueError as error:
            good, result = False, str(error)
        failures += not good
        print(f'{row["path"][-44:]:44} {row["codec"]:10} {size:11} {result}')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
