/*
 * Packing: a file is opened, decoded from the key frames before its clips on, and the kept frames are scaled. What that
 * costs a core is linear in the pixels of a frame, near enough, between the two sizes it was measured at.
 */
#include <math.h>

#include "codec/codec.h"
#include "pack/sharding.h"
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

/* Files are compared by their looks: eight instants of each (video/phash.h). */
static bool looks_wanted(const vj_config *c)
{
    return c->pack.duplicates == VJ_DUPLICATES_DROP || c->pack.held_out_videos.count > 0;
}

/*
 * All frames of the file; or for each clip and instant those from a key frame on, half a group before it (where windows
 * are fixed the first begins with one), but for frames that no other refers to: x264's defaults make 44 of 61
 * necessary.
 */
static double decoded_frames(const vj_config *c, const vj_footage *m, double windows, double clip_frames)
{
    enum { INSTANTS = 8 };
    const double all = m->seconds * m->fps, before = 0.5 * (double)c->plan.gop, needed = 44.0 / 61;
    const double inside = c->pack.random_windows == VJ_WINDOW_FIRST ? fmax(0, windows - 1) : windows;
    const double looks = looks_wanted(c) ? INSTANTS * (before + 1) : 0;
    return c->pack.decode_all ? all : fmin(all, needed * (inside * before + windows * clip_frames + looks));
}

static void cost_of_a_file(vj_pack_forecast *f, const vj_config *c)
{
    const double pixels = f->footage.height * f->footage.width;
    const double windows = f->footage.clips / (double)f->footage.files;
    f->clip_frames = (double)((c->pack.frames - 1) * c->pack.step + 1);
    f->decoded_frames = decoded_frames(c, &f->footage, windows, f->clip_frames);
    f->kept_frames = windows * (double)c->pack.frames;
    f->file_s = by_pixels(pixels, open_240p_s, open_720p_s) +
                f->decoded_frames * by_pixels(pixels, 1 / c->cluster.decode_fps_240p, 1 / c->cluster.decode_fps_720p) +
                f->kept_frames * by_pixels(pixels, scale_240p_s, scale_720p_s);
    if (c->pack.codec == VJ_CODEC_JPEG) f->file_s += windows * f->raw_clip_bytes / 3 * jpeg_pixel_s;
}

void vj_pack_forecast_make(vj_pack_forecast *f, const vj_config *c, const vj_machine *machine,
                           const vj_footage *footage)
{
    const double files = (double)footage->files,
                 side = c->pack.short_side > 0 ? (double)c->pack.short_side : (double)c->plan.mean_height;
    const int64_t workers = c->pack.workers > 0 ? c->pack.workers : machine->cores;
    *f = (vj_pack_forecast){.footage = *footage};
    f->raw_clip_bytes = 3 * (double)c->pack.frames * side * ceil(side * aspect);
    f->clip_bytes = f->raw_clip_bytes * (c->pack.codec == VJ_CODEC_JPEG ? c->plan.jpeg_share : 1);
    if (footage->files == 0) return;
    cost_of_a_file(f, c);
    f->core_s = files * f->file_s;
    f->read_bytes = files * footage->bytes;
    f->store_bytes = footage->clips * f->clip_bytes;
    f->shards = vj_sharding_of(c, footage->files, (int64_t)footage->clips).shards;

    /* A shard is one rank's: the last round of shards may leave ranks without work. */
    f->ranks = machine->nodes < f->shards ? machine->nodes : (int)f->shards;
    f->workers = (int)workers;
    f->rank_bytes = 1e6 * (double)(c->pack.buffer_mb + workers * c->pack.worker_memory_mb);
    const double rounds = ceil((double)f->shards / f->ranks), share = rounds / (double)f->shards;
    f->compute_s = f->core_s * share / (double)(workers < machine->cores ? workers : machine->cores);
    f->file_system_s = (f->read_bytes + f->store_bytes) / machine->filesystem_bytes_s;
    f->walltime_s = fmax(f->compute_s, f->file_system_s);
    f->file_system_bytes_s = (f->read_bytes + f->store_bytes) / f->compute_s;
}
