#!/usr/bin/env python3
"""Compares packing with vjepa-pack with scripts that do the same job with PyAV, OpenCV and torchcodec.

  pack_peers.py FOLDER [--workers 2] [--windows 1] [--rounds 3] [--bin build/bin]

FOLDER is a folder that make_videos.sh made. The job: from every video of list.csv take WINDOWS clips of 16 frames, step
4, scale them to a short side of 256 and write them to HDF5, one clip per chunk, flushed to disk. All take turns in
ROUNDS rounds with the same number of processes and decoders of one thread, each in the fastest way that was found for
it. Times are of packing alone: the peers have already imported their libraries and started their processes (vjepa-pack
has not). Peers that are not installed are left out and named. To install them:

  python3 -m venv venv && venv/bin/pip install numpy h5py av opencv-python-headless torch torchcodec
  venv/bin/python tests/bench/pack_peers.py videos
"""
import argparse
import csv
import importlib.util
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import time

import h5py
import numpy

FRAMES, STEP, SIDE = 16, 4, 256


def wanted_frames(available, windows):
    """Return the numbers of the frames that vjepa-pack chooses, for videos longer than their windows."""
    part, span = available // windows, FRAMES * STEP
    assert part > span, 'a video is shorter than its windows'
    return [i * part + int(min(k * span / (FRAMES - 1), span - 1)) for i in range(windows) for k in range(FRAMES)]


def scaled_size(height, width):
    return (SIDE * height // width, SIDE) if width < height else (SIDE, int(SIDE * width / height + 0.5))


# ---------------------------------------------------------------------------------------------------- one video each

def with_pyav(path, windows):
    import av
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = 'NONE', 1
        wanted = wanted_frames(stream.frames, windows)
        height, width = scaled_size(stream.height, stream.width)
        # Do not seek: each window would be decoded from the key frame before it, and x264 sets one in 250 frames.
        out, numbers = [], set(wanted)
        for number, frame in enumerate(container.decode(stream)):
            if number in numbers:
                out.append(frame.to_ndarray(format='rgb24', width=width, height=height, interpolation='BILINEAR'))
                if number == wanted[-1]:
                    break
    return numpy.stack(out).reshape(windows, FRAMES, height, width, 3)


def with_opencv(path, windows):
    import cv2
    cv2.setNumThreads(1)
    video = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    wanted = wanted_frames(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), windows)
    height, width = scaled_size(int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(video.get(cv2.CAP_PROP_FRAME_WIDTH)))
    out, numbers = [], set(wanted)
    for number in range(wanted[-1] + 1):  # grab() does not convert; setting the position may miss frames
        if not video.grab():
            break
        if number in numbers:
            # INTER_LINEAR is OpenCV's fastest. It does not filter, while the other peers here do.
            picture = cv2.resize(video.retrieve()[1], (width, height), interpolation=cv2.INTER_LINEAR)
            out.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    return numpy.stack(out).reshape(windows, FRAMES, height, width, 3)


def with_torchcodec(path, windows):
    import torch
    from torchcodec.decoders import VideoDecoder
    torch.set_num_threads(1)
    decoder = VideoDecoder(path, num_ffmpeg_threads=1, seek_mode='approximate')
    size = scaled_size(decoder.metadata.height, decoder.metadata.width)
    frames = decoder.get_frames_at(wanted_frames(decoder.metadata.num_frames, windows)).data
    # By measurement this is faster than torchcodec's own transform Resize.
    frames = torch.nn.functional.interpolate(frames, size=size, mode='bilinear', antialias=True)
    return frames.permute(0, 2, 3, 1).contiguous().numpy().reshape(windows, FRAMES, *size, 3)


PEERS = {'PyAV': ('av', with_pyav), 'OpenCV': ('cv2', with_opencv), 'torchcodec': ('torchcodec', with_torchcodec)}


# ---------------------------------------------------------------------------------------------------- the job

def warm_up(module):
    importlib.import_module(module)
    time.sleep(0.2)  # so that every process of the pool gets one of these calls


def one_video(work):
    peer, number, path, windows = work
    return number, PEERS[peer][1](path, windows)


def pack_with(peer, paths, out, windows, workers):
    """Return the seconds. Clips go to the file `out`, with a dataset for each size as in vjepa-pack's shards."""
    with multiprocessing.get_context('spawn').Pool(workers) as pool:
        pool.map(warm_up, [PEERS[peer][0]] * workers, chunksize=1)
        begin, count = time.monotonic(), {}
        with h5py.File(out, 'w') as store:
            jobs = [(peer, number, path, windows) for number, path in enumerate(paths)]
            for number, clips in pool.imap_unordered(one_video, jobs):
                name = '%dx%d' % clips.shape[2:4]
                if name not in store:
                    store.create_dataset(name, (0,) + clips.shape[1:], 'u1', maxshape=(None,) + clips.shape[1:],
                                         chunks=(1,) + clips.shape[1:])
                    store.create_dataset(name + '/source'.replace('/', '_'), (0,), 'i8', maxshape=(None,), chunks=(1024,))
                    count[name] = 0
                frames, source, at = store[name], store[name + '_source'], count[name]
                count[name] += len(clips)
                frames.resize(count[name], axis=0)
                source.resize(count[name], axis=0)
                frames[at:], source[at:] = clips, number
        with open(out, 'rb') as written:
            os.fsync(written.fileno())
        return time.monotonic() - begin


def pack_with_vjepa(folder, out, windows, workers, bin_folder, decode):
    config = out + '.yaml'
    with open(config, 'w') as f:
        f.write(f'pack:\n  lists: [{folder}/list.csv]\n  store: {out}\n  frames: {FRAMES}\n  step: {STEP}\n  short_side: {SIDE}\n'
                f'  windows: {windows}\n  workers: {workers}\n  decode: {decode}\n')
    said = subprocess.run(['mpirun', '-n', '1', os.path.join(bin_folder, 'vjepa-pack'), config], check=True,
                          stdout=subprocess.PIPE).stdout.decode()
    return float(re.search(r'clips from .* in ([0-9.]+) s', said).group(1))


def psnr_of_first(peer_file, store, windows):
    """Return the PSNR (dB) between a peer's and vjepa-pack's clip of the first video: do both do the same job?"""
    with h5py.File(os.path.join(store, 'index.h5')) as index:
        c = index['clips']
        at = next(i for i in range(len(c['source'])) if c['source'][i] == 0 and c['window'][i] == windows - 1)
        size, shard, row = '%dx%d' % (c['height'][at], c['width'][at]), int(c['shard'][at]), int(c['row'][at])
    with h5py.File(os.path.join(store, f'shard-{shard:05d}.h5')) as f, h5py.File(peer_file) as peer:
        ours = f[f'clips/{size}/frames'][row].astype(float)
        theirs = peer[size][int(numpy.flatnonzero(peer[size + '_source'][:] == 0)[windows - 1])]
    return 10 * numpy.log10(255 ** 2 / max(numpy.mean((ours - theirs) ** 2), 1e-9))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--windows', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--bin', default='build/bin')
    parser.add_argument('--out', default='/tmp/vjepa-peers', help='folder for what is written; its files are removed')
    a = parser.parse_args()
    folder = os.path.abspath(a.folder)
    paths = [os.path.join(folder, row['path']) for row in csv.DictReader(open(os.path.join(folder, 'list.csv')))]
    os.makedirs(a.out, exist_ok=True)
    peers = [name for name, (module, _) in PEERS.items() if importlib.util.find_spec(module)]
    for name in PEERS.keys() - set(peers):
        print(f'{name} is not installed: left out', file=sys.stderr)
    store, all_store = os.path.join(a.out, 'needed.clips'), os.path.join(a.out, 'all.clips')
    times, psnr = {}, {}
    for _ in range(a.rounds + 1):  # the first round does not count: it fills the system's file cache
        for name in peers:
            out = os.path.join(a.out, name + '.h5')
            times.setdefault(name, []).append(pack_with(name, paths, out, a.windows, a.workers))
        for name, out, decode in (('vjepa-pack', store, 'needed'), ('vjepa-pack, whole files', all_store, 'all')):
            subprocess.run(['rm', '-rf', out], check=True)
            times.setdefault(name, []).append(pack_with_vjepa(folder, out, a.windows, a.workers, a.bin, decode))
    for name in peers:
        psnr[name] = psnr_of_first(os.path.join(a.out, name + '.h5'), store, a.windows)
    best = statistics.median(times['vjepa-pack'][1:])
    print(f'{len(paths)} files, {a.windows} clips each, {a.workers} processes; seconds min / median / max of {a.rounds}')
    for name, all_times in times.items():
        t, middle = all_times[1:], statistics.median(all_times[1:])
        print(f'{name:26} {min(t):6.2f} / {middle:6.2f} / {max(t):6.2f} s  {len(paths) / middle:6.1f} files/s  '
              f'{middle / best:5.2f} times vjepa-pack' + (f'  {psnr[name]:.1f} dB to its frames' if name in psnr else ''))
    subprocess.run(['rm', '-rf', a.out], check=True)
    print('other: ' + ', '.join(f'{module} {getattr(importlib.import_module(module), "__version__", "?")}'
                                for module, _ in (PEERS[n] for n in peers)))


if __name__ == '__main__':
    main()
