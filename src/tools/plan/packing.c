/*
 * Forecasts the time and memory of packing. A file is opened, decoded from the last key frame before each clip, and the
 * frames that are kept are scaled. The time on a core was measured at two frame sizes, and is taken as linear in the
 * number of pixels between them.
 */
#include <math.h>

#include "codec/codec.h"
#include "pack/sharding.h"
#include "plan/forecast.h"

static const double aspect = 16.0 / 9, pixels_240p = 320 * 240, pixels_720p = 1280 * 720;

/*
 * Measured on one core of an AMD EPYC (Zen 5) with FFmpeg 5.1 and H.264 of x264's defaults: the time to open a file and
 * read the parameters of its streams; to scale a frame to a short side of 256, bilinear, and convert it to RGB; and to
 * compress a pixel with libjpeg-turbo.
 */
static const double open_240p_s = 13e-3, open_720p_s = 40e-3;
static const double scale_240p_s = 0.39e-3, scale_720p_s = 1.28e-3;
static const double jpeg_pixel_s = 10e-9;

/* Interpolate between both measurements; below the smaller one the time is proportional to the pixels. */
static double by_pixels(double pixels, double at_240p, double at_720p)
{
    if (pixels < pixels_240p) return at_240p * pixels / pixels_240p;
    return at_240p + (at_720p - at_240p) * (pixels - pixels_240p) / (pixels_720p - pixels_240p);
}

/* Return whether packing decodes eight instants of each file to compare files by what they show (video/phash.h). */
static bool looks_wanted(const vj_config *c)
{
    return c->pack.duplicates == VJ_DUPLICATES_DROP || c->pack.held_out_videos.count > 0;
}

/*
 * Return the number of frames of a file that are decoded: all, or for each clip and each compared instant those since
 * the last key frame, which is half a group of pictures earlier on average. The first window at a fixed place begins
 * with a key frame. Frames that no other frame refers to are skipped; with x264's defaults 44 of 61 are necessary.
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

    /* Each shard is made by one rank, so in the last round of shards some ranks may have no work. */
    f->ranks = machine->nodes < f->shards ? machine->nodes : (int)f->shards;
    f->workers = (int)workers;
    f->rank_bytes = 1e6 * (double)(c->pack.buffer_mb + workers * c->pack.worker_memory_mb);
    const double rounds = ceil((double)f->shards / f->ranks), share = rounds / (double)f->shards;
    f->compute_s = f->core_s * share / (double)(workers < machine->cores ? workers : machine->cores);
    f->file_system_s = (f->read_bytes + f->store_bytes) / machine->filesystem_bytes_s;
    f->walltime_s = fmax(f->compute_s, f->file_system_s);
    f->file_system_bytes_s = (f->read_bytes + f->store_bytes) / f->compute_s;
}
