/*
 * Metadata and integrity of still pictures. The orientation is a number in EXIF metadata, which JPEG, PNG and WebP
 * store in a separate section and TIFF at its beginning; FFmpeg passes it on for some formats only. Print density is
 * ignored: it does not describe the shape of pixels. FFmpeg's decoder fills in missing parts of a JPEG without an
 * error, so we check JPEG files with libjpeg-turbo, which warns.
 */
#include <stdlib.h>
#include <string.h>

#include <turbojpeg.h>

#include "video/inside.h"

/* ------------------------------------------------------------------------------------------------ EXIF */

typedef struct {
    const uint8_t *at;
    size_t bytes;
} span;

/* Return the part of `s` from `from` on, at most `bytes` long; empty if `s` ends before. */
static span part(span s, size_t from, size_t bytes)
{
    if (from >= s.bytes) return (span){NULL, 0};
    return (span){s.at + from, bytes < s.bytes - from ? bytes : s.bytes - from};
}

static uint32_t number(span s, size_t at, int bytes, int big_endian)
{
    uint32_t value = 0;
    if (at > s.bytes || s.bytes - at < (size_t)bytes) return 0;
    for (int i = 0; i < bytes; i++) value |= (uint32_t)s.at[at + (size_t)i] << 8 * (big_endian ? bytes - 1 - i : i);
    return value;
}

static int begins(span s, const char *with, size_t bytes)
{
    return s.bytes >= bytes && memcmp(s.at, with, bytes) == 0;
}

enum { ORIENTATION = 274, COMPRESSION = 259, TILE_WIDTH = 322, DNG_VERSION = 50706 }; /* tags of TIFF */

/* Return the first number of a tag in the first directory of a TIFF structure, which is also the form of EXIF; -1: the
 * tag is missing. */
static int64_t tiff_tag(span tiff, uint32_t tag)
{
    enum { ENTRY = 12, SHORT = 3, LONG = 4 };
    const int big = begins(tiff, "MM", 2);
    if (!big && !begins(tiff, "II", 2)) return -1;
    if (number(tiff, 2, 2, big) != 42) return -1;
    const size_t directory = number(tiff, 4, 4, big);
    const uint32_t entries = number(tiff, directory, 2, big);
    for (uint32_t i = 0; i < entries; i++) {
        const span entry = part(tiff, directory + 2 + (size_t)i * ENTRY, ENTRY);
        if (entry.bytes < ENTRY) return -1;
        if (number(entry, 0, 2, big) != tag) continue;
        const uint32_t type = number(entry, 2, 2, big);
        return type == SHORT ? number(entry, 8, 2, big) : type == LONG ? number(entry, 8, 4, big) : 0;
    }
    return -1;
}

static int orientation_of_tiff(span tiff)
{
    const int64_t orientation = tiff_tag(tiff, ORIENTATION);
    return orientation > 0 && orientation < 9 ? (int)orientation : 0;
}

/*
 * Return what FFmpeg's decoder does not support in a TIFF picture, or NULL. It reports no error for it and returns a
 * black picture. Pictures of cameras (DNG) are another matter: it decodes their tiles and JPEG data.
 */
static const char *unsupported_in_tiff(span tiff)
{
    enum { NONE = 1, G3 = 3, G4 = 4, RLE = 2, LZW = 5, JPEG_OLD = 6, JPEG = 7, DEFLATE = 8, LZMA = 34925 };
    enum { PACKBITS = 32773, DEFLATE_OLD = 32946 };
    if (tiff_tag(tiff, DNG_VERSION) >= 0) return NULL;
    if (tiff_tag(tiff, TILE_WIDTH) >= 0) return "tiles";
    switch (tiff_tag(tiff, COMPRESSION)) {
    case -1:
    case NONE:
    case RLE:
    case G3:
    case G4:
    case LZW:
    case DEFLATE:
    case DEFLATE_OLD:
    case PACKBITS:
    case LZMA:
        return NULL;
    case JPEG:
    case JPEG_OLD:
        return "JPEG data";
    default:
        return "another compression";
    }
}

/* Some writers put JPEG's prefix "Exif" in front of it in other formats too. */
static int orientation_of_exif(span exif)
{
    return orientation_of_tiff(begins(exif, "Exif\0\0", 6) ? part(exif, 6, exif.bytes) : exif);
}

/* Searches the segments up to the first scan; a segment is FF, a marker, and a length that includes itself. */
static int orientation_of_jpeg(span file)
{
    enum { SCAN = 0xda, APP1 = 0xe1 };
    for (size_t at = 2; at + 4 <= file.bytes && file.at[at] == 0xff;) {
        const int marker = file.at[at + 1];
        if (marker == 0xff) { /* a fill byte */
            at++;
            continue;
        }
        const size_t length = number(file, at + 2, 2, 1);
        const span segment = part(file, at + 4, length > 2 ? length - 2 : 0);
        if (marker == SCAN || length < 2) return 0;
        if (marker == APP1 && begins(segment, "Exif\0", 5)) return orientation_of_exif(segment);
        at += 2 + length;
    }
    return 0;
}

/* Searches chunks of a length, a name, data and a checksum. */
static int orientation_of_png(span file)
{
    for (size_t at = 8; at + 12 <= file.bytes;) {
        const size_t length = number(file, at, 4, 1);
        if (memcmp(file.at + at + 4, "eXIf", 4) == 0) return orientation_of_exif(part(file, at + 8, length));
        at += 12 + length;
    }
    return 0;
}

/* Searches chunks of a name, a length, and data padded to an even number of bytes. */
static int orientation_of_webp(span file)
{
    for (size_t at = 12; at + 8 <= file.bytes;) {
        const size_t length = number(file, at + 4, 4, 0);
        if (memcmp(file.at + at, "EXIF", 4) == 0) return orientation_of_exif(part(file, at + 8, length));
        at += 8 + length + length % 2;
    }
    return 0;
}

static int orientation_of(span file)
{
    if (begins(file, "\xff\xd8", 2)) return orientation_of_jpeg(file);
    if (begins(file, "\x89PNG", 4)) return orientation_of_png(file);
    if (begins(file, "RIFF", 4)) return orientation_of_webp(file);
    return orientation_of_tiff(file);
}

/* Set the orientation. EXIF 2.3, section 4.6.4, has eight values: where the first stored row and column are shown. */
static void turn(vj_video *v, int exif)
{
    static const struct {
        vj_orientation to;
        int degrees;
    } table[9] = {[2] = {{.mirror_x = 1}, 0},
                  [3] = {{.mirror_x = 1, .mirror_y = 1}, 180},
                  [4] = {{.mirror_y = 1}, 180},
                  [5] = {{.transpose = 1}, 90},
                  [6] = {{.transpose = 1, .mirror_x = 1}, 90},
                  [7] = {{.transpose = 1, .mirror_x = 1, .mirror_y = 1}, 270},
                  [8] = {{.transpose = 1, .mirror_y = 1}, 270}};
    if (exif < 2 || exif > 8) return;
    v->orientation = table[exif].to;
    v->info.rotation = table[exif].degrees;
}

/* ------------------------------------------------------------------------------------------------ whole? */

/* Return whether a warning of libjpeg-turbo does not mean a damaged picture: fill bytes, odd headers. */
static int is_harmless(const char *warning)
{
    enum { FILLING = 32 };
    const char *extraneous = strstr(warning, "extraneous bytes");
    if (!extraneous)
        return strstr(warning, "Invalid SOS parameters") || strstr(warning, "Adobe") || strstr(warning, "JFIF");
    const char *data = strstr(warning, "data: ");
    return data && atoi(data + 6) <= FILLING;
}

/* Decode at an eighth of the size, which still reads all data. Returns 1 after a warning that is not harmless. */
static int warns(tjhandle decoder, const uint8_t *jpeg, size_t bytes, int flags)
{
    const tjscalingfactor eighth = {1, 8};
    int width, height, sampling, colours;
    if (tjDecompressHeader3(decoder, jpeg, bytes, &width, &height, &sampling, &colours) != 0) return 0;
    const int format = colours == TJCS_CMYK || colours == TJCS_YCCK ? TJPF_CMYK
                       : colours == TJCS_RGB                        ? TJPF_RGB
                                                                    : TJPF_GRAY;
    const int w = TJSCALED(width, eighth), h = TJSCALED(height, eighth);
    uint8_t *out = malloc((size_t)w * (size_t)h * (size_t)tjPixelSize[format]);
    const int failed = !out || tjDecompress2(decoder, jpeg, bytes, out, w, 0, h, format, flags) != 0;
    free(out);
    return failed && out && tjGetErrorCode(decoder) == TJERR_WARNING && !is_harmless(tjGetErrorStr2(decoder));
}

/*
 * Return whether a progressive JPEG lacks scans. If it was cut between two scans it decodes without a warning. Each
 * scan has some bits of some of the 64 coefficients of some components; the last bits of all must be there, which are
 * in scans with Al = 0 (ITU T.81, table B.3).
 */
static int lacks_scans(span file)
{
    enum { PROGRESSIVE = 0xc2, SCAN = 0xda, END = 0xd9, COMPONENTS = 256, ALL = 64 };
    uint8_t done[COMPONENTS][ALL] = {{0}}; /* [component's identifier, coefficient] */
    uint8_t used[COMPONENTS] = {0};
    int progressive = 0;
    for (size_t at = 2; at + 4 <= file.bytes;) {
        const int marker = file.at[at + 1];
        if (file.at[at] == 0xff && marker == END) break; /* another picture may follow */
        if (file.at[at] != 0xff || marker == 0 || marker == 0xff || (marker >= 0xd0 && marker <= 0xd8)) {
            at++; /* coded data, and markers without a length */
            continue;
        }
        const size_t length = number(file, at + 2, 2, 1);
        const span segment = part(file, at + 4, length > 2 ? length - 2 : 0);
        if (marker == PROGRESSIVE) {
            progressive = 1;
            for (size_t c = 0; segment.bytes > 5 && c < segment.at[5] && 6 + 3 * c < segment.bytes; c++)
                used[segment.at[6 + 3 * c]] = 1;
        }
        const size_t n = segment.bytes > 0 ? segment.at[0] : 0;
        if (marker == SCAN && segment.bytes >= 4 + 2 * n && (segment.at[3 + 2 * n] & 15) == 0)
            for (size_t c = 0; c < n; c++)
                for (int k = segment.at[1 + 2 * n]; k <= segment.at[2 + 2 * n] && k < ALL; k++)
                    done[segment.at[1 + 2 * c]][k] = 1;
        at += 2 + length;
    }
    for (int c = 0; progressive && c < COMPONENTS; c++)
        if (used[c] && memchr(done[c], 0, ALL)) return 1;
    return 0;
}

/* An end marker is added to the data, because a picture that lacks only this marker is complete. */
int vj_photo_is_damaged(const AVPacket *packet)
{
    const size_t bytes = (size_t)packet->size + 2;
    tjhandle decoder = tjInitDecompress();
    uint8_t *jpeg = malloc(bytes);
    int damaged = 0;
    if (decoder && jpeg) {
        memcpy(jpeg, packet->data, bytes - 2);
        jpeg[bytes - 2] = 0xff;
        jpeg[bytes - 1] = 0xd9;
        damaged = warns(decoder, jpeg, bytes, TJFLAG_FASTDCT | TJFLAG_LIMITSCANS | TJFLAG_STOPONWARNING);
        /* A harmless warning stopped the decoder: decode again without stopping, and judge by the last warning. */
        if (!damaged && tjGetErrorCode(decoder) == TJERR_WARNING)
            damaged = warns(decoder, jpeg, bytes, TJFLAG_FASTDCT | TJFLAG_LIMITSCANS);
    }
    damaged |= lacks_scans((span){packet->data, (size_t)packet->size});
    free(jpeg);
    if (decoder) (void)tjDestroy(decoder); /* fails on NULL only */
    return damaged;
}

bool vj_photo_rgb(vj_video *v, uint8_t *out)
{
    AVPacket *packet;
    int width, height, sampling, colours, shown_width, shown_height;
    if (v->file.format->streams[v->stream]->codecpar->codec_id != AV_CODEC_ID_MJPEG) return false;
    if (vj_packets_get(v, v->shown[0].packet, &packet) < 0) return false;
    const size_t bytes = (size_t)packet->size;
    tjhandle decoder = tjInitDecompress();
    uint8_t *stored = NULL;
    bool good = decoder &&
                tjDecompressHeader3(decoder, packet->data, bytes, &width, &height, &sampling, &colours) == 0 &&
                colours != TJCS_CMYK && colours != TJCS_YCCK && width == v->held->width && height == v->held->height;
    if (good) stored = malloc((size_t)width * (size_t)height * 3);
    good = stored && tjDecompress2(decoder, packet->data, bytes, stored, width, 0, height, TJPF_RGB, 0) == 0;
    if (good) {
        vj_shown_size(width, height, v->aspect, v->orientation, &shown_width, &shown_height);
        vj_orient_rgb(stored, (size_t)width * 3, v->orientation, shown_width, shown_height, out);
    }
    free(stored);
    if (decoder) (void)tjDestroy(decoder); /* fails on NULL only */
    return good;
}

vj_video_verdict vj_photo_inspect(vj_video *v)
{
    AVPacket *packet;
    int error = vj_packets_get(v, v->shown[0].packet, &packet);
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_FAILED, error, "reading");
    const AVCodecParameters *stored = v->file.format->streams[v->stream]->codecpar;
    const span file = {packet->data, (size_t)packet->size};
    const char *unsupported = stored->codec_id == AV_CODEC_ID_TIFF ? unsupported_in_tiff(file) : NULL;
    if (unsupported)
        return vj_video_refuse(v, VJ_VIDEO_NO_DECODER,
                               "this is a TIFF picture with %s, which FFmpeg does not decode: save it as PNG",
                               unsupported);
    v->aspect = (AVRational){1, 1};
    turn(v, orientation_of(file));
    vj_shown_size(stored->width, stored->height, v->aspect, v->orientation, &v->info.width, &v->info.height);
    if (stored->codec_id == AV_CODEC_ID_MJPEG && vj_photo_is_damaged(packet)) {
        v->faults++;
        v->packets[v->shown[0].packet].damaged = 1;
    }
    return VJ_VIDEO_OK;
}
