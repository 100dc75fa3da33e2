/*
 * The containers and codecs that we accept: those of common videos and pictures. FFmpeg supports several hundred more.
 * Most are for games, subtitles, text or play lists; they are seldom used and tested, and each is code that a hostile
 * file could reach.
 */
#include <string.h>

#include "video/inside.h"

/* One name of each demuxer. FFmpeg's names for still pictures recognised by their first bytes end in "_pipe". */
static const char *const containers[] = {
    "mov",       "matroska", "avi",       "mpegts",    "mpeg",         "mpegvideo", "h264",     "hevc",
    "m4v",       "flv",      "live_flv",  "asf",       "ogg",          "rm",        "dv",       "mxf",
    "ivf",       "obu",      "mjpeg",     "nut",       "yuv4mpegpipe", "gif",       "apng",     "png_pipe",
    "jpeg_pipe", "bmp_pipe", "tiff_pipe", "webp_pipe", "ppm_pipe",     "pgm_pipe",  "pbm_pipe", "pam_pipe",
};

static const char *const decoders[] = {
    /* MPEG and ITU */
    "h261",
    "h263",
    "h263i",
    "h263p",
    "mpeg1video",
    "mpeg2video",
    "mpeg4",
    "h264",
    "hevc",
    /* the web */
    "vp3",
    "theora",
    "vp6",
    "vp6a",
    "vp6f",
    "flv",
    "vp8",
    "vp9",
    "libdav1d",
    "libaom-av1",
    "av1",
    /* Windows, Real, QuickTime */
    "msmpeg4v1",
    "msmpeg4v2",
    "msmpeg4",
    "wmv1",
    "wmv2",
    "wmv3",
    "vc1",
    "msvideo1",
    "msrle",
    "cinepak",
    "indeo2",
    "indeo3",
    "indeo4",
    "indeo5",
    "rv10",
    "rv20",
    "rv30",
    "rv40",
    "svq1",
    "svq3",
    "qtrle",
    "rpza",
    "smc",
    "8bps",
    /* cameras and cutting */
    "mjpeg",
    "mjpegb",
    "dvvideo",
    "prores",
    "dnxhd",
    "cfhd",
    "rawvideo",
    "v210",
    "v308",
    "v408",
    "v410",
    "r210",
    "huffyuv",
    "ffvhuff",
    "ffv1",
    "utvideo",
    "magicyuv",
    "lagarith",
    "jpeg2000",
    "libopenjpeg",
    /* screens */
    "zmbv",
    "cscd",
    "tscc",
    "tscc2",
    "flashsv",
    "flashsv2",
    "fraps",
    "png",
    /* pictures */
    "apng",
    "gif",
    "bmp",
    "tiff",
    "webp",
    "ppm",
    "pgm",
    "pgmyuv",
    "pbm",
    "pam",
    "targa",
};

static int among(const char *const *list, size_t count, const char *name, size_t length)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(list[i]) == length && memcmp(list[i], name, length) == 0) return 1;
    return 0;
}

int vj_container_allowed(const char *names)
{
    for (;;) {
        size_t length = strcspn(names, ",");
        if (among(containers, sizeof containers / sizeof *containers, names, length)) return 1;
        if (names[length] == '\0') return 0;
        names += length + 1;
    }
}

int vj_decoder_allowed(const char *name)
{
    return among(decoders, sizeof decoders / sizeof *decoders, name, strlen(name));
}
