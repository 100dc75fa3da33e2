#!/bin/bash
# Makes a folder of unusual, damaged and hostile media files, as collections of videos have them or as somebody could put them into
# one. tests/e2e/odd_files.sh says what packing must make of each; real_videos.sh compares the good ones with ffmpeg's own frames.
#   odd_files.sh OUT [SRC]       SRC: a video of 3 s or more, a test pattern if left out
#   ODD_URL=http://HOST:PORT     where the hostile ones point to
# Needs ffmpeg with the usual encoders, python3. Quarter of a minute, 12 MB.
set -euo pipefail
out=${1:?usage: odd_files.sh OUT [SRC]}
src=${2:-}
url=${ODD_URL:-http://127.0.0.1:9}
mkdir -p "$out"
[ -z "$src" ] || src=$(readlink -e "$src")
cd "$out"
ff() { ffmpeg -nostdin -y -v error "$@"; }
if [ -z "$src" ]; then
    src=$PWD/source.mp4
    ff -f lavfi -i testsrc2=s=320x240:r=30:d=3 -c:v libx264 -pix_fmt yuv420p file:source.mp4
fi
x264=(-c:v libx264 -preset ultrafast -pix_fmt yuv420p)
# enc NAME OPTIONS...: the first 3 s, without sound; small: at 320x240
enc() { local name=$1; shift; ff -t 3 -i "file:$src" -an "$@" "file:$name"; }
small() { local name=$1; shift; enc "$name" -vf scale=320:240 -frames:v 90 "$@"; }
ten() { local name=$1; shift; enc "$name" -vf scale=320:240 -frames:v 10 "$@"; }

small ok.mp4 "${x264[@]}"
small ok_fast.mp4 "${x264[@]}" -movflags +faststart

# ---------------------------------------------------------------------------------------------- not media, cut, damaged
: >zero.mp4
echo 'this is not a video' >text.mp4
head -c 50000 /dev/urandom >random.mp4
cp /usr/share/common-licenses/GPL-3 licence.webm
gzip -c ok.mp4 >packed.mp4
cp "$(type -P true)" program.mp4
printf '1\n00:00:00,000 --> 00:00:02,000\nHello\n' >subtitles.mp4
cut60() { head -c $(($(stat -c %s "$1") * 6 / 10)) "$1" >"$2"; }
cut60 ok.mp4 trunc_nomoov.mp4
cut60 ok_fast.mp4 trunc_faststart.mp4
python3 - <<'PY'
import random, struct, zlib
good = open('ok.mp4', 'rb').read()
r, b = random.Random(1), bytearray(good)
for _ in range(60):                       # flipped bits, sparing header and index
    b[r.randrange(2000, len(b) - 6000)] ^= 1 << r.randrange(8)
open('bitflip.mp4', 'wb').write(b)
b = bytearray(good)
start, length = len(b) // 3, min(20000, len(b) // 3)
b[start:start + length] = bytes(length)
open('hole.mp4', 'wb').write(b)
b = bytearray(good)
b[len(b) - 3000:] = bytes(3000)           # in the index
open('index_hole.mp4', 'wb').write(b)

def box(name, data): return struct.pack('>I4s', 8 + len(data), name) + data
nested = b''
for _ in range(5000): nested = box(b'moov', nested)
open('nested.mp4', 'wb').write(good[:32] + nested)

# Small files that claim to unpack to huge pictures.
def chunk(name, data): return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
def png(side): return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)) +
                       chunk(b'IDAT', zlib.compress(bytes(1 << 20))) + chunk(b'IEND', b''))
open('bomb.png', 'wb').write(png(60000))
open('bomb.pgm', 'wb').write(b'P5\n100000 100000\n255\n' + bytes(1000))
open('bomb.y4m', 'wb').write(b'YUV4MPEG2 W100000 H100000 F25:1 Ip A1:1 C420jpeg\nFRAME\n' + bytes(1000))
PY
truncate -s 2G sparse.mp4

# ------------------------------------------------------------------------------------------------ no video, or a picture
ff -f lavfi -i sine=d=2 -c:a aac audio_only.mp4
enc photo.png -frames:v 1 -vf scale=320:240
enc photo.jpg -frames:v 1 -vf scale=320:240
enc photo_alpha.png -frames:v 1 -vf scale=320:240,format=rgba,colorchannelmixer=aa=0.5
enc photo_16bit.png -frames:v 1 -vf scale=320:240 -pix_fmt rgb48be
ff -f lavfi -i sine=d=2 -i photo.png -map 0:a -map 1:v -c:a libmp3lame -c:v mjpeg -disposition:v attached_pic coverart.mp3

# ---------------------------------------------------------------------------------------------- time
enc vfr.mp4 -vf "scale=320:240,select='not(mod(n,3))+lt(n,20)',setpts=PTS" -fps_mode vfr "${x264[@]}"
enc fps1000.mp4 -frames:v 90 -vf scale=320:240,settb=1/1000,setpts=N -r 1000 "${x264[@]}"
ff -ss 0.5 -i ok.mp4 -c copy editlist.mp4
ff -i ok.mp4 -c copy -movflags frag_keyframe+empty_moov frag.mp4
ff -i ok.mp4 -c copy -output_ts_offset 10 late.mkv
ff -i ok.mp4 -c copy half_places.avi # every second place for a frame is empty
enc dropped.avi -vf "scale=320:240,select='not(eq(mod(n,10),3))'" -frames:v 81 -fps_mode passthrough -enc_time_base 1/30 -c:v mpeg4
small raw_es.h264 "${x264[@]}" -f h264
small bframes.mp4 -c:v libx264 -bf 3 -g 30 -pix_fmt yuv420p
small one_frame.mp4 -frames:v 1 "${x264[@]}"
small short_9.mp4 -frames:v 9 "${x264[@]}"
enc interlaced.mpg -vf scale=320:240,interlace -flags +ildct+ilme -c:v mpeg2video

# ---------------------------------------------------------------------------------------------- shape
if [ "$(ffmpeg -version | sed -n '1s/^ffmpeg version n\{0,1\}\([0-9]*\).*/\1/p')" -ge 6 ]; then
    ff -display_rotation:v -90 -i ok.mp4 -c copy rotated90.mp4
else
    ff -i ok.mp4 -c copy -metadata:s:v rotate=90 rotated90.mp4
fi
enc odd_dims.mp4 -frames:v 90 -vf scale=321:241 -pix_fmt yuv444p -c:v libx264
enc sar43.mp4 -frames:v 90 -vf scale=320:180,setsar=4/3 "${x264[@]}"
enc tiny_8x6.mp4 -frames:v 90 -vf scale=8:6 "${x264[@]}"
ff -f lavfi -i testsrc=s=7680x4320:r=5:d=0.6 "${x264[@]}" huge_8k.mp4
enc a.ts -frames:v 30 -vf scale=320:240 "${x264[@]}"
enc b.ts -frames:v 30 -vf scale=640:360 "${x264[@]}"
cat a.ts b.ts >res_change.ts
rm a.ts b.ts
enc two_streams.mkv -frames:v 90 -filter_complex '[0:v]split[p][q];[p]scale=320:240[a];[q]scale=160:120[b]' \
    -map '[a]' -map '[b]' "${x264[@]}"

# ---------------------------------------------------------------------------------------------- pixel formats and codecs
small gray.mp4 -pix_fmt gray -c:v libx264
small stream.mjpeg -c:v mjpeg -f mjpeg
small views.jpg -frames:v 2 -c:v mjpeg -f mjpeg # a photo and a preview of it, as some cameras store
small fullrange.mov -pix_fmt yuvj420p -c:v mjpeg
small bt709.mp4 "${x264[@]}" -colorspace bt709 -color_primaries bt709 -color_trc bt709
small tenbit_h264.mp4 -pix_fmt yuv420p10le -c:v libx264
small tenbit_vp9.webm -pix_fmt yuv420p10le -c:v libvpx-vp9 -profile:v 2 -deadline realtime -cpu-used 8
small hevc.mp4 -c:v libx265 -preset ultrafast -x265-params log-level=error
small vp8.webm -c:v libvpx -deadline realtime -cpu-used 8
small mpeg4.avi -c:v mpeg4
small msmpeg4.wmv -c:v msmpeg4
small flv.flv -c:v flv
small theora.ogv -c:v libtheora
ten lossless_ffv1.mkv -c:v ffv1
ten av1.mkv -c:v libaom-av1 -cpu-used 8 -row-mt 0
ten anim.gif
ten prores.mov -c:v prores_ks
enc dv.avi -frames:v 10 -vf scale=720:576,fps=25 -pix_fmt yuv420p -c:v dvvideo
ten alpha_qtrle.mov -pix_fmt argb -c:v qtrle
enc alpha_vp9.webm -vf "scale=320:240,format=yuva420p,geq=lum='lum(X\,Y)':cb='cb(X\,Y)':cr='cr(X\,Y)':a='mod(X\,256)'" \
    -frames:v 10 -c:v libvpx-vp9 -deadline realtime -cpu-used 8
ff -f lavfi -i color=black:s=320x240:r=30:d=1 "${x264[@]}" black.mp4

# ---------------------------------------------------------------------------------------------- names
cp ok.mp4 wrong_ext.avi; cp ok.mp4 noext; cp ok.mp4 ./-dash.mp4; cp ok.mp4 'pct%03d.mp4'; cp ok.mp4 'comma, blank.mp4'
cp ok.mp4 "$(printf 'bad_\xff\xfe_latin\xe9.mp4')"; cp ok.mp4 "$(printf 'new\nline.mp4')"; cp ok.mp4 ' blanks .mp4'
cp ok.mp4 "quote'\"s.mp4"; cp ok.mp4 'back\slash.mp4'; cp ok.mp4 '$(touch owned).mp4'; cp ok.mp4 $'\xd0\xb2\xd0\xb8\xd0\xb4.mp4'
cp ok.mp4 "$(printf 'n%.0s' $(seq 251)).mp4" # as long as names may be
cp ok.mp4 http:colon.mp4 # FFmpeg takes this for an address
mkdir -p "http:/${url#*//}"
cp ok.mp4 "$url/video.mp4" # and this for one where somebody listens

# ---------------------------------------------------------------------------------------------- links, not regular, barred
mkdir -p loop dir.mp4
ln -sfn ../loop loop/self; ln -sfn selfy.mp4 selfy.mp4; ln -sfn nowhere.mp4 dangling.mp4; ln -sfn ok.mp4 link.mp4
ln -sfn /dev/zero device.mp4; ln -sfn /proc/kmsg kernel.mp4 # reading either never ends
[ -p fifo.mp4 ] || mkfifo fifo.mp4
python3 -c 'import os, socket; os.path.exists("socket.mp4") or socket.socket(socket.AF_UNIX).bind("socket.mp4")'
cp -f ok.mp4 secret.mp4; chmod 000 secret.mp4

# ---------------------------------------------------------------------------------------------- files that name others
printf '#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n%s/playlist.ts\n#EXTINF:5,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n' \
    "$url" >playlist.m3u8
cp playlist.m3u8 playlist.mp4
printf '#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\nres_change.ts\n#EXT-X-ENDLIST\n' >playlist_local.m3u8
printf "ffconcat version 1.0\nfile ok.mp4\nfile '%s/concat.mp4'\n" "$url" >concat.mp4
printf 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 40000 RTP/AVP 96\na=rtpmap:96 H264/90000\n' \
    >session.sdp
printf '[Reference]\nRef1=%s/redirect.mp4\n' "${url/#http/rtsp}" >redirect.mp4
cat >dash.mpd <<XML
<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT3S" minBufferTime="PT1S"
  profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1"
  bandwidth="1000" width="320" height="240"><BaseURL>$url/dash.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>
XML
python3 - "$url" <<'PY'
import struct, sys
url = sys.argv[1].encode()
good = open('ok.mp4', 'rb').read()      # its index follows the frames, so it may grow

def box(name, data): return struct.pack('>I4s', 8 + len(data), name) + data
def with_reference(entry):
    """ok.mp4 whose frames are said to be in another file"""
    path, at, data = [b'moov', b'trak', b'mdia', b'minf', b'dinf', b'dref'], 0, bytearray(good)
    opened = []
    for name in path:
        at = data.index(name, at) - 4
        opened.append(at)
        at += 8
    begin = opened[-1]
    size, = struct.unpack_from('>I', data, begin)
    new = box(b'dref', struct.pack('>II', 0, 1) + entry)
    data[begin:begin + size] = new
    for at in opened[:-1]:
        struct.pack_into('>I', data, at, struct.unpack_from('>I', data, at)[0] + len(new) - size)
    return bytes(data)

open('data_url.mp4', 'wb').write(with_reference(box(b'url ', bytes(4) + url + b'/data.mp4\0')))
def alias(name):
    name = name.encode()
    fixed = bytes(10) + b'\0' + bytes(27) + bytes(12) + bytes([len(name)]) + name.ljust(63, b'\0') + bytes(16)
    path = b'/' + name
    return box(b'alis', bytes(4) + fixed + struct.pack('>HH', 1, 1) + bytes(16) +
               struct.pack('>HH', 2, len(path)) + path + bytes(len(path) % 2) + struct.pack('>H', 0xffff))
open('data_alias.mov', 'wb').write(with_reference(alias('etc/passwd')))
open('data_alias_near.mov', 'wb').write(with_reference(alias('ok.mp4')))

# An AVI whose subtitle stream is a play list, which is a known way to make FFmpeg read other files.
def chunk(name, data): return name + struct.pack('<I', len(data)) + data + bytes(len(data) % 2)
def header(kind, handler, scale, rate, frames): return chunk(b'strh', kind + handler + struct.pack(
    '<IHHIIIIIIII4H', 0, 0, 0, 0, scale, rate, 0, frames, 4096, 0, 0, 0, 0, 16, 16))
text = b'#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1.0,\n' + url + b'/gab2.ts\n#EXTINF:1.0,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n'
gab2 = b'GAB2\0' + struct.pack('<HI', 2, 4) + 'x\0'.encode('utf-16-le')[:4] + struct.pack('<HI', 4, len(text)) + text
bitmap = struct.pack('<IiiHHIIiiII', 40, 16, 16, 1, 24, 0, 768, 0, 0, 0, 0)
lists = [b'hdrl' + chunk(b'avih', struct.pack('<14I', 40000, 0, 0, 16, 1, 0, 2, 4096, 16, 16, 0, 0, 0, 0)) +
         chunk(b'LIST', b'strl' + header(b'vids', b'DIB ', 1, 25, 2) + chunk(b'strf', bitmap)) +
         chunk(b'LIST', b'strl' + header(b'txts', bytes(4), 1, 25, 1) + chunk(b'strf', b'')),
         b'movi' + chunk(b'01tx', gab2) + chunk(b'00db', bytes(768)) + chunk(b'00db', bytes(768))]
open('subtitle_list.avi', 'wb').write(chunk(b'RIFF', b'AVI ' + b''.join(chunk(b'LIST', l) for l in lists)))
PY
echo "$(find . ! -type d | wc -l) files in $PWD, $(du -sh . | cut -f1)"
