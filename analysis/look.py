"""Show what a checkpoint and a clip store hold: look.py CHECKPOINT.h5 NAME.clips [OUT.png]. Needs h5py and Pillow."""
import sys, h5py, numpy as np
from PIL import Image

checkpoint, store = h5py.File(sys.argv[1]), h5py.File(sys.argv[2] + '/shard-00000.h5')
checkpoint['model/encoder'].visititems(lambda name, t: print(f'{name:32} {t.shape}') if isinstance(t, h5py.Dataset) else None)
print('step', checkpoint['state'].attrs['step'])
clip, label = store['clips/frames'][0], store['clips/label'][0]
print('clip', clip.shape, clip.dtype, 'label', label)
Image.fromarray(np.concatenate(list(clip), axis=1)).save(sys.argv[3] if len(sys.argv) > 3 else 'clip.png')
