#!/usr/bin/python3
"""Pictures of all the kinds that people have. `pictures.py make FOLDER` writes them and list.csv; `pictures.py check
STORE FOLDER` compares a store that was packed from them, and its ledger, with what PIL shows of the same files."""
import csv, gzip, io, os, random, struct, subprocess, sys, zlib
import h5py, numpy as np
from PIL import Image, ImageFile, ImageOps

H, W = 96, 144


def scene(mode='RGB'):
    y, x = np.mgrid[0:H, 0:W]
    a = np.stack([x * 200 // W + 20, y * 200 // H + 20, (x + y) * 200 // (H + W) + 20], 2).astype(np.uint8)
    a[:H // 3, :W // 4] = [230, 20, 20]
    a[:H // 3, -W // 4:] = [20, 220, 20]
    a[-H // 3:, :W // 4] = [20, 20, 230]
    return Image.fromarray(a).convert(mode)


def exif(orientation):
    e = Image.Exif()
    e[0x0112] = orientation
    return e.tobytes()


def png_chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def make(folder):
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    im = scene()

    def save(name, picture=im, **how):
        picture.save(name, **how)

    def data(kind, picture=im, **how):
        b = io.BytesIO()
        picture.save(b, kind, **how)
        return b.getvalue()

    def write(name, content):
        open(name, 'wb').write(content)

    for o in range(0, 10):
        save(f'ok_turn{o}.jpg', quality=95, subsampling=0, exif=exif(o))
        save(f'ok_turn{o}.png', exif=exif(o))
        save(f'ok_turn{o}.webp', lossless=True, exif=exif(o))
        save(f'ok_turn{o}.tif', tiffinfo={274: o} if 1 <= o <= 8 else {})
    e = b'MM\0*' + struct.pack('>IHHHIHHI', 8, 1, 274, 3, 1, 5, 0, 0) # EXIF in big-endian byte order
    save('ok_bigendian.jpg', quality=95, exif=b'Exif\0\0' + e)
    save('ok_density.png', dpi=(100, 300))
    save('ok_density.jpg', quality=95, dpi=(300, 100))
    save('ok_density.tif', dpi=(72, 144))
    write('ok_density_aspect.jpg', data('JPEG', quality=95)[:13] + b'\0\0\2\0\1' + data('JPEG', quality=95)[18:])
    ramp = np.linspace(0, 65535, H * W).reshape(H, W).astype(np.uint16)
    save('ok_grey16.tif', Image.fromarray(ramp))
    save('ok_grey16.png', Image.fromarray(ramp))
    # FFmpeg takes the pixels of this one for the beginning of an MP3.
    write('ok_mp3.pgm', b'P5 %d %d 255\n' % (W, H) + bytes(1253 * i % 256 for i in range(H * W)))
    write('ok_grey16.pgm', b'P5 %d %d 65535\n' % (W, H) + ramp.astype('>u2').tobytes())
    write('ok_grey100.pgm', b'P5 %d %d 100\n' % (W, H) + (ramp // 656).astype(np.uint8).tobytes())
    write('ok_grey1000.pgm', b'P5 %d %d 1000\n' % (W, H) + (ramp // 66).astype('>u2').tobytes())
    save('ok_grey8.tif', scene('L'))
    save('ok_grey8.jpg', scene('L'), quality=95)
    save('ok_bilevel.png', scene('L').point(lambda v: 255 * (v > 120)).convert('1'))
    save('ok_bilevel.tif', scene('L').point(lambda v: 255 * (v > 120)).convert('1'))
    save('ok_white0.tif', scene('L').point(lambda v: 255 * (v > 120)).convert('1'), tiffinfo={262: 0})
    save('ok_palette.png', im.quantize(64))
    save('ok_palette.gif', im.quantize(64))
    save('ok_cmyk.jpg', im.convert('CMYK'), quality=95)
    for q, sub in ((95, 0), (90, 1), (75, 2)):
        save(f'ok_q{q}.jpg', quality=q, subsampling=sub)
        save(f'ok_progressive{q}.jpg', quality=q, subsampling=sub, progressive=True)
    save('ok_optimised.jpg', quality=90, optimize=True)
    save('ok_plain.bmp')
    save('ok_plain.ppm')
    save('ok_lossy.webp', quality=90)
    save('ok_lzw.tif', compression='tiff_lzw')
    save('ok_deflate.tif', compression='tiff_deflate')
    jpeg = data('JPEG', quality=92)
    write('ok_noend.jpg', jpeg[:-2])
    write('ok_behind.jpg', jpeg + b'\0' * 1000 + bytes(range(256)) * 4)
    # A second JPEG behind the picture, as in MPO files and in phones' files with a preview.
    write('ok_two.jpg', jpeg + data('JPEG', scene('L'), quality=80))
    write('ok_preview.jpg', data('JPEG', quality=92, exif=exif(1)[:-4] + b'\0\0\0\0'))
    save('ok_views.mpo', save_all=True, append_images=[ImageOps.mirror(im)], quality=92)
    os.rename('ok_views.mpo', 'ok_views.jpg') # phones name MPO files with a depth or gain map so
    write('other_zip_with_jpeg.png', b'PK\3\4' + bytes(26) + jpeg)
    if subprocess.run(['convert', '-version'], capture_output=True).returncode == 0:
        save('tmp.bmp')
        subprocess.run(['convert', 'tmp.bmp', '-interlace', 'PNG', 'ok_interlaced.png'])
        subprocess.run(['convert', 'tmp.bmp', '-sampling-factor', '4:2:0', '-define', 'jpeg:restart-interval=4', 'ok_restart.jpg'])
        os.remove('tmp.bmp')

    noise = random.Random(1)
    rough = Image.fromarray((np.asarray(im).astype(int) + np.random.default_rng(1).integers(-20, 20, (H, W, 3))).clip(0, 255)
                            .astype(np.uint8))
    baseline, progressive = data('JPEG', rough, quality=92), data('JPEG', rough, quality=92, progressive=True)
    for cut in (30, 60, 90):
        write(f'bad_cut{cut}.jpg', baseline[:len(baseline) * cut // 100])
        write(f'bad_cut{cut}_progressive.jpg', progressive[:len(progressive) * cut // 100])
    middle = len(baseline) // 2
    write('bad_zeros.jpg', baseline[:middle] + bytes(2000) + baseline[middle + 2000:])
    write('bad_noise.jpg', baseline[:middle] + noise.randbytes(500) + baseline[middle + 500:])
    write('bad_hole.jpg', baseline[:middle] + baseline[middle + 1500:])
    for kind, name in (('PNG', 'png'), ('TIFF', 'tif'), ('BMP', 'bmp'), ('PPM', 'ppm')):
        whole = data(kind, rough)
        write(f'bad_cut.{name}', whole[:len(whole) * 6 // 10])
    webp = data('WEBP', rough, lossless=True)
    write('bad_cut.webp', webp[:len(webp) * 6 // 10])
    png = bytearray(data('PNG', rough))
    at = png.index(b'IDAT') + 3000
    png[at] ^= 0x55
    write('bad_checksum.png', png)
    tiff = bytearray(data('TIFF', rough, compression='tiff_deflate'))
    tiff[3000] ^= 0x55 # in a strip
    write('bad_strip.tif', tiff)

    # FFmpeg makes black pictures of these two, without an error.
    save('other_jpegtiff.tif', compression='jpeg')
    tags = ((256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (277, 1), (322, 16), (323, 16), (324, 8), (325, 256))
    write('other_tiles.tif', b'II*\0' + struct.pack('<I', 264) + bytes(range(256)) + struct.pack('<H', len(tags)) +
          b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags) + bytes(4))
    save('other_moving.webp', save_all=True, append_images=[ImageOps.mirror(im)], duration=100, lossless=True)
    write('other_gzip.jpg', gzip.compress(jpeg))
    write('other_page.jpg', b'<!DOCTYPE html><html><body>404 Not Found</body></html>')
    write('other_zip.png', b'PK\3\4' + bytes(100))
    write('other_heif.jpg', struct.pack('>I', 24) + b'ftypheic' + bytes(4) + b'mif1heic' + bytes(200))
    write('other_avif.png', struct.pack('>I', 28) + b'ftypmif1' + bytes(4) + b'mif1avifmiaf' + bytes(200))
    write('other_svg.png', b'<?xml version="1.0"?>\n<svg xmlns="x" width="4"></svg>\n')
    write('other_words.jpg', b'a download that ended in words\n' * 9)
    write('other_xz.jpg', b'\xfd7zXZ\0' + bytes(64))
    write('other_pdf.png', b'%PDF-1.4\n' + bytes(100))
    write('other_zeros.jpg', bytes(4096))
    write('other_pointer.jpg', b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n')
    with open('list.csv', 'w') as f:
        f.write('path\n' + ''.join(n + '\n' for n in sorted(os.listdir('.')) if n != 'list.csv'))


def right(path):
    ImageFile.LOAD_TRUNCATED_IMAGES = True # PIL refuses a JPEG without its end marker
    im = Image.open(path)
    if im.mode.startswith('I'):
        a = np.asarray(im).astype(float)
        top = 1000 if '1000' in path else 65535
        if path.endswith('.pgm') and a.max() > top:
            top = 65535
        return np.repeat((a * 255 / top)[:, :, None], 3, 2)
    im.load() # this already turns TIFF pictures; to transpose them again, as PIL 9's exif_transpose does, is wrong
    return np.asarray((im if path.endswith('.tif') else ImageOps.exif_transpose(im)).convert('RGB')).astype(float)


def check(store, folder):
    ledger = {int(r['source']): r for r in csv.DictReader(open(store + '/ledger.csv'))}
    index = h5py.File(store + '/index.h5')['clips']
    got = {}
    for i in range(len(index['row'])):
        shard = h5py.File(f'{store}/shard-{int(index["shard"][i]):05d}.h5')
        frames = shard[f'clips/{index["height"][i]}x{index["width"][i]}/frames'][index['row'][i]]
        got[os.path.basename(ledger[int(index['source'][i])]['path'])] = frames[0].astype(float)
    bad = []
    names = {'moving': 'animated WebP', 'gzip': 'gzip', 'page': 'web page', 'zip': 'zip', 'heif': 'HEIF', 'pdf': 'PDF',
             'zeros': 'zeros', 'avif': 'AVIF', 'svg': 'SVG', 'words': 'a text', 'xz': 'xz', 'pointer': 'Git LFS',
             'jpegtiff': 'a TIFF picture with JPEG data', 'tiles': 'a TIFF picture with tiles'}
    for r in ledger.values():
        path, verdict, reason = os.path.basename(r['path']), r['verdict'], r['reason']
        if path.startswith('ok_'):
            if verdict != 'ok' or path not in got:
                bad.append(f'{path}: {verdict}, {reason}')
                continue
            want = right(f'{folder}/{path}')
            error = 999 if want.shape != got[path].shape else abs(want - got[path]).mean()
            # Decoders may differ in chroma upsampling, and in CMYK without a profile, for which PIL has its own rule.
            most = 12 if 'cmyk' in path else 4 if path.endswith(('.jpg', 'lossy.webp')) else 1.5
            if error > most:
                bad.append(f'{path}: {got[path].shape}, mean error {error:.1f}, of {want.shape}')
        elif path.startswith('bad_'):
            if verdict == 'ok':
                bad.append(f'{path}: damage was not seen')
        elif names[path.split('_')[1].split('.')[0]] not in reason:
            bad.append(f'{path}: {verdict}, {reason}')
    print('\n'.join(bad) or f'{len(ledger)} pictures are as they should be')
    sys.exit(len(bad) > 0)


{'make': make, 'check': check}[sys.argv[1]](*sys.argv[2:])
