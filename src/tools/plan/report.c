/* Converts a forecast to JSON, with an explanation of each number, and JSON to text. */
#include "plan/report.h"

#include <math.h>
#include <string.h>

#include "bench/report.h"

/* A section of the report to which numbers are added. */
typedef struct {
    json_t *report, *section;
    const char *name;
} filling;

static filling begin(json_t *report, const char *name)
{
    return (filling){.report = report, .section = vj_put_object(report, name), .name = name};
}

/* Put a number into the section, and its explanation into the object "how" under the key "section.key". */
__attribute__((format(printf, 4, 5))) static void put(const filling *f, const char *key, double value, const char *how,
                                                      ...)
{
    char name[96], text[256];
    va_list args;
    va_start(args, how);
    vsnprintf(text, sizeof text, how, args);
    va_end(args);
    snprintf(name, sizeof name, "%s.%s", f->name, key);
    if (value == floor(value) && fabs(value) < 1e15)
        vj_put_count(f->section, key, (int64_t)value);
    else
        vj_put_number(f->section, key, value);
    vj_put_text(json_object_get(f->report, "how"), name, text);
}

/* ------------------------------------------------------------------------------------------------ sections */

static void put_data(json_t *report, const vj_forecast *f)
{
    const vj_footage *m = &f->pack.footage;
    const filling s = begin(report, "data");
    put(&s, "files", (double)m->files, "%s", m->from);
    if (m->files == 0) return;
    put(&s, "video_hours", (double)m->files * m->seconds / 3600, "%.4g s each", m->seconds);
    put(&s, "media_gb", 1e-9 * f->pack.read_bytes, "%.3g MB each, %.0f x %.0f pixels, %.3g frames a second",
        1e-6 * m->bytes, m->width, m->height, m->fps);
}

static void put_packing(json_t *report, const vj_forecast *f, const vj_config *c)
{
    const vj_pack_forecast *p = &f->pack;
    const vj_machine *machine = &f->machine;
    const bool cores_last = p->compute_s >= p->file_system_s;
    const filling s = begin(report, "packing");
    put(&s, "clips", p->footage.clips, "%.3g a file, every file taken for a good one",
        p->footage.clips / (double)p->footage.files);
    put(&s, "clip_mb", 1e-6 * p->clip_bytes, "%lld frames, short side %lld, 16:9", (long long)c->pack.frames,
        (long long)c->pack.short_side);
    put(&s, "store_gb", 1e-9 * p->store_bytes, "all clips");
    put(&s, "shards", (double)p->shards, "of about %lld MB, %d at a time", (long long)c->pack.shard_mb, p->ranks);
    put(&s, "decoded_frames", p->decoded_frames, "a file, of %.0f; a clip spans %.0f, a key frame comes every %lld%s",
        p->footage.seconds * p->footage.fps, p->clip_frames, (long long)c->plan.gop,
        c->pack.decode_all ? "; all (pack.decode)" : "");
    put(&s, "core_ms_a_file", 1e3 * p->file_s, "open, decode, scale %.0f frames", p->kept_frames);
    put(&s, "core_hours", p->core_s / 3600, "all files");
    put(&s, "ranks", p->ranks, "one a node, each with %d workers", p->workers);
    put(&s, "memory_gb_a_rank", 1e-9 * p->rank_bytes, "at most, workers at pack.worker_memory_mb and clips that wait%s",
        p->rank_bytes > machine->memory_bytes ? "; MORE THAN A NODE HAS: lower it, or pack.workers" : "");
    put(&s, "file_system_gb_s", 1e-9 * p->file_system_bytes_s, "wanted while all cores decode; there are %.3g",
        1e-9 * machine->filesystem_bytes_s);
    char cores[32], file_system[32];
    put(&s, "walltime_h", p->walltime_s / 3600, "%s: %s for the cores, %s for the file system",
        cores_last ? "bound by decoding" : "bound by the file system", vj_duration(p->compute_s, cores),
        vj_duration(p->file_system_s, file_system));
    put(&s, "jobs", machine->job_s > 0 ? ceil(p->walltime_s / machine->job_s) : 1,
        "of at most %.3g h; complete shards stay", machine->job_s / 3600);
}

/* Report the steps, and if the number of clips is known how often training uses each. */
static void put_steps(const filling *s, const vj_forecast *f, const vj_config *c)
{
    const double clips = f->pack.footage.clips;
    const double samples = (double)f->work.steps * (double)c->train.batch;
    if (clips > 0)
        put(s, "steps", (double)f->work.steps, "%lld clips each, %.3g passes over %.0f clips",
            (long long)c->train.batch, samples / clips, clips);
    else
        put(s, "steps", (double)f->work.steps,
            "%lld clips each; how many the store has, nobody says (plan.store_clips)", (long long)c->train.batch);
}

static void put_layout(const filling *s, const vj_forecast *f, const vj_config *c)
{
    const double gb = 1e-9, batch_flops = (double)c->train.batch * f->work.clip_flops;
    const vj_train_layout *l = &f->layout[0];
    const vj_memory *m = &l->memory;
    put(s, "nodes", l->nodes, "of %d", f->machine.nodes);
    put(s, "ranks", (double)l->nodes * l->node_ranks, "%d data x %d tensor, %d threads each", l->data_ranks, l->tensor,
        l->threads);
    put(s, "zero", l->zero, "parallel.zero");
    put(s, "microbatch", (double)l->microbatch, "clips; %lld a rank and step", (long long)l->microbatches);
    put(s, "memory_gb_a_rank", gb * (double)m->all,
        "weights %.3g, gradient %.3g, moments %.3g, target %.3g, activations %.3g, clips read ahead %.3g, other %.3g",
        gb * (double)m->weights, gb * (double)m->gradient, gb * (double)m->moments, gb * (double)m->target,
        gb * (double)m->activations, gb * (double)m->batches,
        gb * (double)(m->all - m->weights - m->gradient - m->moments - m->target - m->activations - m->batches));
    if (f->machine.gpus)
        put(s, "memory_gb_a_gpu", gb * l->gpu_bytes, "of %.4g that a job may use%s", gb * f->machine.gpu_memory_bytes,
            l->gpu_bytes <= f->machine.gpu_memory_bytes ? "" : ": DOES NOT FIT");
    put(s, "memory_gb_a_node", gb * l->node_bytes, "of %.4g that a job may use%s", gb * f->machine.memory_bytes,
        l->node_bytes <= f->machine.memory_bytes ? "" : ": DOES NOT FIT");
    char products[32], update[32], sums[32], reading[32];
    put(s, "step_s", l->step_s, "products %s, update %s, sums over ranks %s; reading beside it %s",
        vj_duration(l->compute_s, products), vj_duration(l->memory_s, update),
        vj_duration(l->tensor_s + l->sum_s, sums), vj_duration(l->read_s, reading));
    const double per_node = 1e-9 * batch_flops / l->step_s / l->nodes;
    if (f->machine.gpus)
        put(s, "tflops", 1e-12 * batch_flops / l->step_s, "%.3g a GPU", 1e-3 * per_node / l->node_ranks);
    else
        put(s, "tflops", 1e-12 * batch_flops / l->step_s, "%.3g GFLOP/s a core", per_node / f->machine.cores);
    put(s, "gradient_gb", gb * l->weight_bytes, "a rank, summed over %d data ranks", l->data_ranks);
    put(s, "network_gb_a_step", gb * l->network_bytes, "out of each node, and into it, in %.0f messages a rank",
        l->messages);
    put(s, "sum_s", l->sum_s,
        "of a step: what sums over ranks take from computing, and what the backward pass cannot hide");
}

static void put_jobs(const filling *s, const vj_forecast *f)
{
    const vj_campaign_forecast *p = &f->campaign;
    if (f->machine.job_s == 0)
        put(s, "jobs", 1, "cluster.job_hours: no limit");
    else if (p->job_s <= 0)
        put(s, "jobs", 0, "NONE GETS ANYWHERE: start, a step and a checkpoint take longer than %.3g h",
            f->machine.job_s / 3600);
    else
        put(s, "jobs", p->jobs, "of at most %.3g h, of which %.4g train; each goes on from the last checkpoint",
            f->machine.job_s / 3600, p->job_s / 3600);
}

/* Report the cost of node failures, and how often checkpoints should be written. */
static void put_failures(const filling *s, const vj_forecast *f)
{
    const vj_campaign_forecast *p = &f->campaign;
    const double step_s = f->layout[0].step_s;
    put(s, "failures", p->expected_s / p->mtbf_s, "expected, one in %.4g h on %d nodes", p->mtbf_s / 3600,
        f->layout[0].nodes);
    put(s, "checkpoint_every", fmax(1, round(p->daly_s / step_s)),
        "steps lose least, %.3g min (Daly 2006); %.3g min by Young 1974", p->daly_s / 60, p->young_s / 60);
    put(s, "expected_h", p->expected_s / 3600,
        "with failures and checkpoints every %.3g min as configured; %.4g h at best", p->interval_s / 60,
        p->daly_expected_s / 3600);
}

static void put_training(json_t *report, const vj_forecast *f, const vj_config *c)
{
    const vj_train_work *w = &f->work;
    const vj_machine *machine = &f->machine;
    const vj_campaign_forecast *p = &f->campaign;
    const double batch = (double)c->train.batch, hours = p->training_s / 3600;
    const double cores = (double)f->layout[0].nodes * machine->cores;
    const filling s = begin(report, "training");
    put(&s, "parameters", (double)w->parameters, "encoder and predictor%s",
        w->feature ? ", the target encoder left out" : "");
    put_steps(&s, f, c);
    put(&s, "tflop_a_step", 1e-12 * batch * w->clip_flops,
        "%.4g GFLOP a clip: %.0f context and %.0f target tokens over all masks, of %lld", 1e-9 * w->clip_flops,
        w->context_tokens, w->target_tokens, (long long)w->tokens);
    put_layout(&s, f, c);
    put(&s, "read_gb_s", 1e-9 * batch * w->clip_bytes / f->layout[0].step_s, "from the store; the file system has %.3g",
        1e-9 * machine->filesystem_bytes_s);
    put(&s, "checkpoint_gb", 1e-9 * w->checkpoint_bytes, "%lld of them, %lld and those of checkpoint.keep_every stay",
        (long long)w->checkpoints, (long long)c->checkpoint.keep);
    put(&s, "checkpoint_s", p->checkpoint_s, "%s; %s", c->checkpoint.async ? "in the background" : "training waits",
        machine->checkpoint_s > 0 ? "cluster.checkpoint_s" : "its size over cluster.filesystem_gb_s");
    char checkpoints[32];
    put(&s, "walltime_h", hours, "checkpoints %s of it", vj_duration(p->checkpoints_s, checkpoints));
    if (p->watch_s > 0)
        put(&s, "watch_h", p->watch_s / 3600, "of it: every %lld steps an encoder on %lld clips (watch.every)",
            (long long)c->watch.every, (long long)(2 * c->watch.clips));
    put(&s, "core_hours", hours * cores, "of %.0f cores", cores);
    if (machine->gpus) {
        const double gpus = (double)f->layout[0].nodes * machine->gpus;
        put(&s, "gpu_hours", hours * gpus, "of %.0f GPUs", gpus);
    }
    if (machine->node_watts > 0)
        put(&s, "energy_mwh", 1e-6 * p->energy_wh, "%d nodes of %.4g W (cluster.watts_per_node)", f->layout[0].nodes,
            machine->node_watts);
    put_jobs(&s, f);
    if (machine->node_mtbf_s > 0) put_failures(&s, f);
}

static void put_traffic(json_t *report, const vj_forecast *f)
{
    for (int i = 0; i < f->traffic.rows; i++) {
        const vj_traffic_row *r = &f->traffic.row[i];
        json_t *row = vj_put_row(report, "messages");
        vj_put_text(row, "communicator", r->communicator);
        vj_put_count(row, "communicators", r->copies);
        vj_put_count(row, "every_steps", r->every);
        vj_put_count(row, "messages", r->traffic.messages);
        vj_put_count(row, "bytes", r->traffic.bytes);
        vj_put_text(row, "what", r->what);
    }
}

static void put_layouts(json_t *report, const vj_forecast *f)
{
    for (int i = 0; i < f->layouts; i++) {
        const vj_train_layout *l = &f->layout[i];
        json_t *row = vj_put_row(report, "layouts");
        vj_put_count(row, "nodes", l->nodes);
        vj_put_count(row, "ranks_a_node", l->node_ranks);
        vj_put_count(row, "data", l->data_ranks);
        vj_put_count(row, "tensor", l->tensor);
        vj_put_count(row, "zero", l->zero);
        vj_put_count(row, "microbatch", l->microbatch);
        vj_put_number(row, "gb_a_rank", 1e-9 * (double)l->memory.all);
        vj_put_number(row, "gb_a_node", 1e-9 * l->node_bytes);
        if (f->machine.gpus) vj_put_number(row, "gb_a_gpu", 1e-9 * l->gpu_bytes);
        vj_put_number(row, "step_s", l->step_s);
        vj_put_number(row, "products_s", l->compute_s);
        vj_put_number(row, "memory_s", l->memory_s);
        vj_put_number(row, "sums_s", l->tensor_s + l->sum_s);
        vj_put_number(row, "read_s", l->read_s);
        vj_put_text(row, "verdict", f->verdict[i]);
    }
}

typedef struct {
    json_t *report;
    const vj_config *config;
    const char *file; /* path of the file that has the section */
} assumptions;

/* Report the value of a setting, and the place where it was set. */
static void put_assumption(void *user, const char *key, const char *value, const char *help)
{
    const assumptions *a = user;
    const int line = vj_config_origin(a->config, key);
    char from[VJ_PATH + 16] = "default";
    if (line > 0) snprintf(from, sizeof from, "%s:%d", a->file, line);
    if (line < 0) snprintf(from, sizeof from, "--set");
    json_t *row = vj_put_row(a->report, "assumptions");
    vj_put_text(row, "setting", key);
    vj_put_text(row, "value", value);
    vj_put_text(row, "from", from);
    vj_put_text(row, "meaning", help);
}

void vj_forecast_report(json_t *report, const vj_forecast *f, const vj_config *c, const char *cluster_path)
{
    vj_put_text(report, "cluster", c->cluster.name);
    (void)vj_put_object(report, "how"); /* put() finds it by its name */
    put_data(report, f);
    if (f->pack.footage.files > 0) put_packing(report, f, c);
    put_training(report, f, c);
    put_layouts(report, f);
    if (f->advice[0]) vj_put_text(report, "advice", f->advice);
    put_traffic(report, f);
    vj_config_each(c, "cluster", put_assumption,
                   &(assumptions){report, c, cluster_path ? cluster_path : c->origin.file});
    vj_config_each(c, "plan", put_assumption, &(assumptions){report, c, c->origin.file});
}

/* ------------------------------------------------------------------------------------------------ text */

/* Make the text of a value: times with a unit, other numbers with four digits; large ones are rounded, so that they
 * need no exponent. */
static void show(const char *key, const json_t *value, char cell[VJ_CELL])
{
    const double seconds = vj_key_seconds(key);
    char text[32];
    if (json_is_number(value) && seconds > 0.0)
        snprintf(cell, VJ_CELL, "%s", vj_duration(seconds * json_number_value(value), text));
    else if (json_is_real(value) && fabs(json_real_value(value)) >= 1000)
        snprintf(cell, VJ_CELL, "%.0f", json_real_value(value));
    else
        vj_show_value(value, 0.0, cell);
}

static void show_name(const char *key, char cell[VJ_CELL])
{
    const char *unit =
        vj_key_seconds(key) > 0.0 ? strrchr(key, '_') : NULL; /* of a time; it stands beside the number */
    snprintf(cell, VJ_CELL, "%.*s", unit ? (int)(unit - key) : (int)strlen(key), key);
    for (char *c = cell; *c; c++)
        if (*c == '_') *c = ' ';
}

static void show_cell(const char *key, const json_t *value, char cell[VJ_CELL])
{
    if (value)
        show(key, value, cell);
    else
        show_name(key, cell);
}

static void print_section(const json_t *report, const char *name, FILE *out)
{
    const json_t *how = json_object_get(report, "how");
    json_t *section = json_object_get(report, name), *value;
    const char *key;
    if (!section) return;
    fprintf(out, "\n%s\n", name);
    json_object_foreach(section, key, value)
    {
        char number[VJ_CELL], label[VJ_CELL], path[VJ_CELL];
        show(key, value, number);
        show_name(key, label);
        snprintf(path, sizeof path, "%s.%s", name, key);
        fprintf(out, "  %-20s %14s   %s\n", label, number, json_string_value(json_object_get(how, path)));
    }
}

static void print_rows(const json_t *report, const char *name, FILE *out)
{
    fprintf(out, "\n%s\n", name);
    vj_report_table(json_object_get(report, name), "  ", show_cell, out);
}

vj_status vj_forecast_print(const json_t *report, FILE *out)
{
    static const char *const sections[] = {"data", "packing", "training"};
    fprintf(out, "campaign on %s\n", json_string_value(json_object_get(report, "cluster")));
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) print_section(report, sections[i], out);
    print_rows(report, "layouts", out);
    if (json_object_get(report, "advice")) fprintf(out, "\n%s\n", json_string_value(json_object_get(report, "advice")));
    if (json_object_get(report, "messages")) print_rows(report, "messages", out);
    print_rows(report, "assumptions", out);
    return fflush(out) == 0 && !ferror(out) ? VJ_OK : vj_raise(VJ_ERR_IO, "print the forecast");
}
