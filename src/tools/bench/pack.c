/*
 * Measures packing as in vjepa-pack - worker processes, digests, looks, shards on disk, ledger and index - compared
 * with a bare libav loop over the same files, on as many threads as there are workers. The loop decodes every frame,
 * scales those that the packer keeps, and neither checks nor stores anything. Files and store are in the system's cache
 * after the first round, so this measures the packer and not the disk. With --dir in memory, flushing takes no time
 * either.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/inner.h"
#include "bench/libav.h"
#include "pack/catalogue.h"
#include "pack/pack.h"
#include "parallel/parallel.h"
#include "video/frames.h"

typedef struct {
    const vj_bench_work *work;
    vj_config *config; /* of the packs, owned */
    char folder[VJ_BENCH_FOLDER], store[VJ_BENCH_FOLDER + 16];
    vj_libav_file *file; /* [count] this rank's share, owned */
    int64_t count;
    int workers; /* of this rank */
} packing;

/* ------------------------------------------------------------------------------------------------ files */

/* Take every size-th source of the catalogue, for this rank. */
static vj_status take_sources(packing *p, const vj_catalogue *catalogue)
{
    p->file = vj_calloc(catalogue->sources / p->work->size + 1, sizeof *p->file);
    if (!p->file)
        return vj_raise(VJ_ERR_MEMORY, "no memory for the names of %lld files", (long long)catalogue->sources);
    for (int64_t i = p->work->rank; i < catalogue->sources; i += p->work->size) {
        vj_pack_source source;
        struct stat st;
        VJ_TRY(vj_catalogue_find(catalogue, i, &source));
        if (stat(source.path, &st) != 0) return vj_raise(VJ_ERR_IO, "look at %s", source.path);
        vj_libav_file *file = &p->file[p->count++];
        *file = (vj_libav_file){.path = strdup(source.path), .bytes = st.st_size};
        if (!file->path) return vj_raise(VJ_ERR_MEMORY, "no memory for the names of the files");
    }
    return VJ_OK;
}

static vj_status list_files(packing *p)
{
    vj_catalogue_summary summary;
    vj_catalogue catalogue;
    vj_class_names classes;
    vj_class_names_init(&classes, p->folder);
    const vj_status status =
        p->work->rank == 0 ? vj_catalogue_build(&summary, &classes, p->work->config, p->folder, p->folder) : VJ_OK;
    vj_class_names_release(&classes);
    VJ_TRY(vj_agree(p->work->comm, status));
    MPI_Bcast(&summary, (int)sizeof summary, MPI_BYTE, 0, p->work->comm);
    vj_status mine = vj_catalogue_open(&catalogue, p->folder, summary.sources);
    if (mine == VJ_OK) mine = take_sources(p, &catalogue);
    vj_catalogue_close(&catalogue);
    return vj_agree(p->work->comm, mine);
}

/* Call one() for all files, on as many threads as there are workers. */
static vj_status for_all(packing *p, vj_status (*one)(const packing *p, vj_libav_file *file, vj_libav_scratch *scratch))
{
    vj_status worst = VJ_OK;
#pragma omp parallel num_threads(p->workers)
    {
        vj_libav_scratch scratch = {0};
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < p->count; i++) {
            const vj_status status = one(p, &p->file[i], &scratch);
            if (status != VJ_OK) {
#pragma omp critical
                worst = status;
            }
        }
        vj_libav_release(&scratch);
    }
    return worst;
}

/* Decode a file once to count its frames, from which follows which of them the packer keeps. */
static vj_status choose_frames(const packing *p, vj_libav_file *file, vj_libav_scratch *scratch)
{
    const int F = (int)p->config->pack.frames, step = (int)p->config->pack.step;
    VJ_TRY(vj_libav_decode(file, 0, scratch));
    if (file->frames == 0) return vj_raise(VJ_ERR_FORMAT, "%s has no frame", file->path);
    const int64_t windows = file->frames < p->config->pack.windows ? file->frames : p->config->pack.windows;
    file->wanted = vj_calloc(windows * F, sizeof *file->wanted);
    if (!file->wanted) return vj_raise(VJ_ERR_MEMORY, "no memory for the numbers of frames");
    vj_clip_frames(file->wanted, file->frames, F, step, (int)windows, 0, NULL);
    file->wanted_count = windows * F;
    return VJ_OK;
}

static vj_status decode(const packing *p, vj_libav_file *file, vj_libav_scratch *scratch)
{
    return vj_libav_decode(file, (int)p->config->pack.short_side, scratch);
}

/* ------------------------------------------------------------------------------------------------ passes */

static vj_status run_bare(packing *p)
{
    return for_all(p, decode);
}

static vj_status run_pack(packing *p, int decode_all)
{
    p->config->pack.decode_all = decode_all;
    vj_log_mute(true);
    const vj_status status = vj_pack(p->config, p->work->comm, 0);
    vj_log_mute(false);
    return status;
}

static vj_status run_pack_all(packing *p)
{
    return run_pack(p, 1);
}

static vj_status run_pack_needed(packing *p)
{
    return run_pack(p, 0);
}

enum { BARE, ALL, NEEDED, PASSES };

static const struct {
    const char *what;
    vj_status (*body)(packing *p);
} passes[PASSES] = {[BARE] = {"bare libav loop", run_bare},
                    [ALL] = {"packer, whole files decoded", run_pack_all},
                    [NEEDED] = {"packer, what clips need decoded", run_pack_needed}};

/* Run every pass once untimed, then time them in turns. Removing the store of the last pass is not timed. */
static vj_status sample(packing *p, vj_measurements *samples)
{
    const vj_bench_work *work = p->work;
    for (bool counts = false; !counts || vj_plan_goes_on(&work->plan, &samples[BARE]); counts = true)
        for (int i = 0; i < PASSES; i++) {
            vj_bench_remove(work, p->store);
            MPI_Barrier(work->comm);
            const double begin = vj_now();
            const vj_status status = passes[i].body(p);
            const double seconds = vj_now() - begin;
            VJ_TRY(vj_agree(work->comm, status));
            if (counts) vj_bench_sample(work, &samples[i], seconds);
        }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ report */

static void put(const packing *p, const vj_measurements *samples)
{
    double sums[4] = {(double)p->count};
    for (int64_t i = 0; i < p->count; i++) {
        sums[1] += (double)p->file[i].frames;
        sums[2] += (double)p->file[i].wanted_count;
        sums[3] += 1e-6 * (double)p->file[i].bytes;
    }
    vj_sum_doubles(p->work->comm, sums, 4);
    vj_put_count(p->work->report, "workers", p->workers);
    vj_put_text(p->work->report, "dir", p->work->bench->dir);
    vj_put_count(p->work->report, "files", (int64_t)sums[0]);
    vj_put_count(p->work->report, "frames", (int64_t)sums[1]);
    vj_put_count(p->work->report, "frames_kept", (int64_t)sums[2]);
    vj_put_number(p->work->report, "mb", sums[3]);
    double median[PASSES];
    for (int i = 0; i < PASSES; i++) {
        const vj_timing time = vj_measurements_timing(&samples[i]);
        median[i] = time.median;
        json_t *row = vj_put_row(p->work->report, "pack");
        vj_put_text(row, "what", passes[i].what);
        vj_put_count(row, "repeats", samples[i].count);
        vj_put_timing(row, "time_s", time);
        vj_put_number(row, "files_s", sums[0] / time.median);
        vj_put_number(row, "frames_s", sums[1] / time.median);
        vj_put_number(row, "mb_s", sums[3] / time.median);
    }
    vj_put_number(p->work->report, "fraction_of_bare_loop", median[BARE] / median[ALL]);
    vj_put_number(p->work->report, "needed_over_bare_loop", median[BARE] / median[NEEDED]);
}

static vj_status measure(packing *p)
{
    static vj_measurements samples[PASSES];
    VJ_TRY(vj_bench_folder(p->work, p->folder));
    snprintf(p->store, sizeof p->store, "%s/bench.clips", p->folder);
    if (strlen(p->store) >= sizeof p->config->pack.store)
        return vj_raise(VJ_ERR_USAGE, "path too long: %s", p->work->bench->dir);
    strcpy(p->config->pack.store, p->store);
    VJ_TRY(list_files(p));
    VJ_TRY(vj_agree(p->work->comm, for_all(p, choose_frames)));
    VJ_TRY(sample(p, samples));
    put(p, samples);
    return VJ_OK;
}

vj_status vj_bench_pack(vj_bench_work *work)
{
    packing p = {.work = work, .config = malloc(sizeof *p.config)};
    vj_status status = p.config ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a configuration");
    status = vj_agree(work->comm, status);
    if (status == VJ_OK) {
        *p.config = *work->config;
        p.workers = p.config->pack.workers > 0 ? (int)p.config->pack.workers : work->threads;
        p.config->pack.workers = p.workers;
        p.config->pack.overlap = 0;
        p.config->pack.random_windows = VJ_WINDOW_FIRST; /* the loop keeps the same frames */
        status = measure(&p);
        if (*p.folder) vj_bench_remove(work, p.folder);
    }
    for (int64_t i = 0; i < p.count; i++) {
        free(p.file[i].path);
        free(p.file[i].wanted);
    }
    free(p.file);
    free(p.config);
    return status;
}
