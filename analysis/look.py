"""Show what a checkpoint and a clip store hold: look.py CHECKPOINT.h5 NAME.clips [OUT.png]. Needs h5py and Pillow."""
import sys, h5py, numpy as np
from PIL import Image

checkpoint, clips = h5py.File(sys.argv[1]), h5py.File(sys.argv[2] + '/index.h5')['clips']
checkpoint['model/encoder'].visititems(lambda name, t: print(f'{name:32} {t.shape}') if isinstance(t, h5py.Dataset) else None)
print('step', checkpoint['state'].attrs['step'])
shard = h5py.File(f'{sys.argv[2]}/shard-{clips["shard"][0]:05d}.h5')
clip = shard[f'clips/{clips["height"][0]}x{clips["width"][0]}/frames'][clips['row'][0]]
print('clip', clip.shape, clip.dtype, 'label', clips['label'][0])
Image.fromarray(np.concatenate(list(clip), axis=1)).save(sys.argv[3] if len(sys.argv) > 3 else 'clip.png')
