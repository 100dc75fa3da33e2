/*
 * Packing: a file is opened, decoded from the key frames before its clips on, and the kept frames are scaled. What that
 * costs a core is linear in the pixels of a frame, near enough, between the two sizes it was measured at.
 */
#include <math.h>

#include "plan/forecast.h"

static const double aspect = 16.0 / 9, pixels_240p = 320 * 240, pixels_720p = 1280 * 720;

/*
 * One core of an AMD EPYC (Zen 5), FFmpeg 5.1, H.264 of x264's defaults: opening and reading the streams' parameters;
 * scaling a frame to a short side of 256, bilinear, and its conversion to RGB; libjpeg-turbo, a pixel.
 */
static const double open_240p_s = 13e-3, open_720p_s = 40e-3;
static const double scale_240p_s = 0.39e-3, scale_720p_s = 1.28e-3;
static const double jpeg_pixel_s = 10e-9;

/* The line through both measurements; below the smaller one in proportion to the pixels. */
static double by_pixels(double pixels, double at_240p, double at_720p)
{
    if (pixels < pixels_240p) return at_240p * pixels / pixels_240p;
    return at_240p + (at_720p - at_240p) * (pixels - pixels_240p) / (pixels_720p - pixels_240p);
}

/* All frames of the file, or for each clip those from a key frame on. */
static double decoded_frames(const vj_config *c, const vj_media *m, double clip_frames)
{
    const double all = m->seconds * m->fps, before = 0.5 * (double)c->plan.gop;
    return fmin(all, (double)c->pack.windows * (before + clip_frames));
}

static void cost_of_a_file(vj_pack_forecast *f, const vj_config *c)
{
    const double pixels = f->media.height * f->media.width;
    const double kept_pixels = f->raw_clip_bytes / 3 * (double)c->pack.windows;
    f->clip_frames = (double)((c->pack.frames - 1) * c->pack.step + 1);
    f->decoded_frames = decoded_frames(c, &f->media, f->clip_frames);
    f->kept_frames = (double)(c->pack.windows * c->pack.frames);
    f->file_s = by_pixels(pixels, open_240p_s, open_720p_s) +
                f->decoded_frames * by_pixels(pixels, 1 / c->cluster.decode_fps_240p, 1 / c->cluster.decode_fps_720p) +
                f->kept_frames * by_pixels(pixels, scale_240p_s, scale_720p_s);
    if (f->clip_bytes < f->raw_clip_bytes) f->file_s += kept_pixels * jpeg_pixel_s;
}

/* Shards of about pack.shard_mb, but enough of them to divide among ranks. */
static int64_t shards(const vj_config *c, int64_t files, double store_bytes)
{
    const double by_size = ceil(store_bytes / (1e6 * (double)c->pack.shard_mb));
    const double at_least = fmin(64, ceil((double)files / 16));
    return (int64_t)fmax(by_size, at_least);
}

void vj_pack_forecast_make(vj_pack_forecast *f, const vj_config *c, const vj_machine *machine, const vj_media *media)
{
    const double files = (double)media->files, side = (double)c->pack.short_side;
    *f = (vj_pack_forecast){.media = *media, .clips = files * (double)c->pack.windows};
    f->raw_clip_bytes = 3 * (double)c->pack.frames * side * round(side * aspect);
    f->clip_bytes = f->raw_clip_bytes;
    if (media->files == 0) return;
    cost_of_a_file(f, c);
    f->core_s = files * f->file_s;
    f->read_bytes = files * media->bytes;
    f->store_bytes = f->clips * f->clip_bytes;
    f->shards = shards(c, media->files, f->store_bytes);

    /* A shard is one rank's: the last round of shards may leave ranks without work. */
    f->ranks = machine->nodes < f->shards ? machine->nodes : (int)f->shards;
    f->workers = machine->cores;
    const double rounds = ceil((double)f->shards / f->ranks), share = rounds / (double)f->shards;
    f->compute_s = f->core_s * share / f->workers;
    f->file_system_s = (f->read_bytes + f->store_bytes) / machine->filesystem_bytes_s;
    f->walltime_s = fmax(f->compute_s, f->file_system_s);
    f->file_system_bytes_s = (f->read_bytes + f->store_bytes) / f->compute_s;
}
