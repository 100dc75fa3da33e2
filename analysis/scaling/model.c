/*
 * Computes the points of a model. For each number of nodes, the time of computing is vjepa-plan's forecast, and the
 * communication of a step is simulated by SimGrid SMPI, which runs the code of src/parallel (simulation/). Read
 * simulate_point() first.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/number.h"
#include "model/network.h"
#include "plan/forecast.h"
#include "scaling/scaling.h"

extern char **environ;

enum { MAX_POINTS = 64, PART_BUCKETS = 4 /* as many as gradient_sum.c has between nodes at a time */ };

/* Bytes that a rank reads and writes to sum one byte of its vector, as counted by simulation/machine.c: in
 * gradient_sum.c, and through the window in group.c. The rates in cluster.* are for bytes summed. */
static const double touched_in_buckets = 3, touched_in_window = 5;

typedef struct {
    double step_s, exposed_s, tensor_s, gather_s, small_s; /* simulation/step.c prints them */
} simulated;

typedef struct {
    const vj_scaling_model *model;
    vj_config *config;
    const char *config_path;
    vj_machine machine;
    vj_train_work work;
    char folder[64], program[VJ_PATH];
    double base; /* clips a second and rank at the first point */
} study;

/* ------------------------------------------------------------------------------------------------ layouts */

/* Return the largest microbatch, at most the configuration's, with which no rank has more clips than necessary. */
static int64_t choose_microbatch(int64_t batch, int64_t groups, int64_t limit)
{
    int64_t best = 1, best_clips = INT64_MAX;
    for (int64_t m = 1; m <= limit; m++) {
        if (batch % m != 0) continue;
        const int64_t clips = (batch / m + groups - 1) / groups * m;
        if (clips > best_clips) continue;
        best = m;
        best_clips = clips;
    }
    return best;
}

static vj_status lay_out(study *s, int nodes, int node_ranks, vj_train_layout *l)
{
    char reason[VJ_FORECAST_REASON];
    vj_config *c = s->config;
    const int64_t groups = (int64_t)nodes * node_ranks / c->parallel.tensor;
    if (s->model->weak_clips > 0) c->train.batch = groups * s->model->weak_clips;
    *l = (vj_train_layout){.nodes = nodes,
                           .node_ranks = node_ranks,
                           .tensor = (int)c->parallel.tensor,
                           .zero = (int)c->parallel.zero,
                           .microbatch = choose_microbatch(c->train.batch, groups, c->train.microbatch)};
    const int64_t limit = c->train.microbatch;
    const bool can = vj_train_layout_time(l, c, &s->work, &s->machine, reason, sizeof reason);
    c->train.microbatch = limit;
    if (!can) return vj_raise(VJ_ERR_USAGE, "%d nodes of %d ranks: %s", nodes, node_ranks, reason);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ files */

static vj_status begin(const study *s, const char *name, vj_file *file)
{
    char path[VJ_PATH];
    snprintf(path, sizeof path, "%s/%s", s->folder, name);
    *file = VJ_FILE_NONE;
    return vj_file_begin_text(file, path);
}

/* Write the platform: nodes at a switch that never blocks. Each link has half of the latency of a message. */
static vj_status write_platform(const study *s, int nodes)
{
    const vj_machine *m = &s->machine;
    vj_file file;
    VJ_TRY(begin(s, "platform.xml", &file));
    fprintf(file.stream,
            "<?xml version='1.0'?>\n<!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">\n"
            "<platform version=\"4.1\">\n<cluster id=\"nodes\" prefix=\"node\" suffix=\"\" radical=\"0-%d\" "
            "speed=\"1Tf\" bw=\"%.9gBps\" lat=\"%.9gs\" sharing_policy=\"SPLITDUPLEX\" loopback_bw=\"50GBps\" "
            "loopback_lat=\"500ns\"/>\n</platform>\n",
            nodes - 1, m->network_bytes_s, fmax(m->message_s / 2, 1e-9));
    return vj_file_commit(&file);
}

static vj_status write_hosts(const study *s, int nodes, int node_ranks)
{
    vj_file file;
    VJ_TRY(begin(s, "hosts", &file));
    for (int rank = 0; rank < nodes * node_ranks; rank++) fprintf(file.stream, "node%d\n", rank / node_ranks);
    return vj_file_commit(&file);
}

/* Return the number of sums of activations in a step: two in each block, forward, backward, and when blocks are
 * recomputed. */
static double tensor_sums(const study *s, const vj_train_layout *l)
{
    const vj_shape shape = vj_shape_from(s->config);
    vj_network net;
    vj_network_describe(&net, &shape, 0, NULL);
    const double blocks = net.encoder.depth + net.predictor.depth, passes = s->config->train.recompute ? 3 : 2;
    vj_network_release(&net);
    return l->tensor > 1 ? 2 * passes * blocks * (double)s->config->mask.count * (double)l->microbatches : 0;
}

/* Return how much of the vector is simulated: enough buckets for a steady flow. On processors the slices of weights are
 * returned node by node, those of one node at the same time; so it is all slices of a node, or half of a single node's.
 */
static double part_floats(const study *s, const vj_train_layout *l)
{
    const double floats = (double)s->work.weight_floats[l->tensor], bucket = (double)l->bucket_floats;
    const double of_node = l->zero && !s->machine.gpus ? floats / fmax(l->nodes, 2) : 0;
    return fmax(PART_BUCKETS, floor(of_node / bucket)) * bucket;
}

/* Write the file that simulation/step.c reads. */
static vj_status write_workload(const study *s, const vj_train_layout *l)
{
    const vj_machine *m = &s->machine;
    const vj_config *c = s->config;
    const double clips = (double)(l->microbatches * l->microbatch), sums = tensor_sums(s, l);
    vj_file file;
    VJ_TRY(begin(s, "workload", &file));
    fprintf(file.stream, "node_ranks %d\ntensor %d\nzero %d\n", l->node_ranks, l->tensor, l->zero);
    fprintf(file.stream, "floats %lld\ngathered_bytes %.0f\n", (long long)s->work.weight_floats[l->tensor],
            (double)s->work.gathered_bytes[l->tensor][s->machine.gpus > 0]);
    fprintf(file.stream, "bucket_floats %lld\npart_floats %.0f\n", (long long)l->bucket_floats, part_floats(s, l));
    fprintf(file.stream, "compute_s %.9g\nbackward_s %.9g\nupdate_s %.9g\n", l->compute_s,
            l->compute_s / (double)l->microbatches * 2 / 3, l->memory_s);
    fprintf(file.stream, "sums_rate %.9g\ntensor_rate %.9g\n", touched_in_buckets * m->sum_bytes_s / l->tensor,
            touched_in_window * m->tensor_bytes_s);
    fprintf(file.stream, "gpu_link_bytes_s %.9g\ngpu_host_bytes_s %.9g\ngpu_to_gpu %d\n",
            m->gpus ? m->gpu_link_bytes_s : 0, m->gpus ? m->gpu_host_bytes_s : 0, m->gpu_to_gpu);
    fprintf(file.stream, "network_bytes_s %.9g\nmessage_s %.9g\n", m->network_bytes_s, m->message_s);
    fprintf(file.stream, "tensor_sums %.0f\ntensor_floats %.0f\n", sums,
            sums > 0 ? clips * s->work.tensor_sum_bytes / sizeof(float) / sums : 0);
    fprintf(file.stream, "tensor_byte_s %.9g\n", l->tensor > 1 ? vj_tensor_byte_s(m, l->tensor) : 0);
    fprintf(file.stream, "small_doubles %.0f\n", 2.0 * (double)vj_shape_from(c).width + (double)c->mask.count + 3);
    return vj_file_commit(&file);
}

/* ------------------------------------------------------------------------------------------------ simulation */

/* Start a program with its output in the files `result` and `errors`, and wait for its end. */
static vj_status run_program(const char *const *argv, const char *result, const char *errors)
{
    posix_spawn_file_actions_t actions;
    pid_t process;
    int state = 0;
    if (posix_spawn_file_actions_init(&actions)) return vj_raise(VJ_ERR_MEMORY, "no memory to start %s", argv[0]);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, result, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int error = posix_spawnp(&process, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error)
        return vj_raise(VJ_ERR_LIBRARY, "%s cannot be started: %s; SimGrid is needed (Debian: libsimgrid-dev)", argv[0],
                        strerror(error));
    while (waitpid(process, &state, 0) < 0 && errno == EINTR) continue;
    return VJ_OK; /* what it has written tells whether it succeeded */
}

/* Run SimGrid as a child process in the study's folder, with its output in the file `result`. */
static vj_status run_simulator(const study *s, const vj_train_layout *l)
{
    char count[16], send[64], isend[64], program[VJ_PATH], result[VJ_PATH];
    char platform[VJ_PATH], hosts[VJ_PATH], workload[VJ_PATH], errors[VJ_PATH];
    snprintf(count, sizeof count, "%d", l->nodes * l->node_ranks);
    snprintf(send, sizeof send, "--cfg=smpi/os:0:%.9g:0", s->machine.message_s);
    snprintf(isend, sizeof isend, "--cfg=smpi/ois:0:%.9g:0", s->machine.message_s);
    snprintf(program, sizeof program, "%s", s->program);
    snprintf(result, sizeof result, "%s/result", s->folder);
    snprintf(platform, sizeof platform, "%s/platform.xml", s->folder);
    snprintf(hosts, sizeof hosts, "%s/hosts", s->folder);
    snprintf(workload, sizeof workload, "%s/workload", s->folder);
    snprintf(errors, sizeof errors, "%s/errors", s->folder);
    /* Weights are broadcast only in this case, by the algorithm of Open MPI. For broadcasts of a few numbers that
     * algorithm would cost a table of all ranks each time. */
    const char *broadcast = l->zero && !s->machine.gpus ? "--cfg=smpi/bcast:ompi" : "--cfg=smpi/bcast:binomial_tree";
    /* Use the latency and bandwidth of the platform, without the simulator's factors for Ethernet. All messages are
     * sent without a copy. Only simulated_work() takes time. */
    const char *const argv[] = {"smpirun",
                                "-np",
                                count,
                                "-platform",
                                platform,
                                "-hostfile",
                                hosts,
                                "--cfg=smpi/simulate-computation:no",
                                "--cfg=smpi/shared-malloc:local",
                                "--cfg=smpi/bw-factor:0:1",
                                "--cfg=smpi/lat-factor:0:1",
                                "--cfg=network/weight-S:0",
                                "--cfg=network/crosstraffic:0",
                                "--cfg=smpi/test:0",
                                send,
                                isend,
                                "--cfg=smpi/send-is-detached-thresh:0",
                                "--cfg=smpi/coll-selector:ompi",
                                broadcast,
                                "--log=root.thres:warning",
                                program,
                                workload,
                                NULL};
    return run_program(argv, result, errors);
}

static vj_status read_result(const study *s, simulated *r)
{
    const struct {
        const char *key;
        double *to;
    } keys[] = {{"step_s", &r->step_s},
                {"exposed_s", &r->exposed_s},
                {"tensor_s", &r->tensor_s},
                {"gather_s", &r->gather_s},
                {"small_s", &r->small_s}};
    enum { KEYS = sizeof keys / sizeof keys[0] };
    char path[VJ_PATH], key[64], line[256] = "";
    double value;
    int found = 0;
    snprintf(path, sizeof path, "%s/result", s->folder);
    FILE *file = fopen(path, "r");
    while (file && fscanf(file, "%63s %lf", key, &value) == 2)
        for (int i = 0; i < KEYS; i++)
            if (strcmp(key, keys[i].key) == 0) {
                *keys[i].to = value;
                found++;
            }
    if (file) fclose(file);
    if (found == KEYS) return VJ_OK;
    snprintf(path, sizeof path, "%s/errors", s->folder);
    file = fopen(path, "r");
    if (file && !fgets(line, sizeof line, file)) line[0] = '\0';
    if (file) fclose(file);
    line[strcspn(line, "\n")] = '\0';
    return vj_raise(VJ_ERR_LIBRARY, "the simulation ended without a result: %s", line);
}

static vj_status simulate_point(study *s, int nodes, int node_ranks, vj_train_layout *l, simulated *r)
{
    VJ_TRY(lay_out(s, nodes, node_ranks, l));
    VJ_TRY(write_platform(s, nodes));
    VJ_TRY(write_hosts(s, nodes, node_ranks));
    VJ_TRY(write_workload(s, l));
    VJ_TRY(run_simulator(s, l));
    return read_result(s, r);
}

/* ------------------------------------------------------------------------------------------------ the study */

static void put_row(study *s, FILE *out, const vj_train_layout *l, const simulated *r)
{
    const int ranks = l->nodes * l->node_ranks;
    const double rate = (double)s->config->train.batch / r->step_s, each = rate / ranks;
    const char *slash = strrchr(s->config_path, '/'), *name = slash ? slash + 1 : s->config_path;
    if (s->base == 0) s->base = each;
    fprintf(out, "%d,%d,", ranks, l->nodes);
    if (s->model->study)
        fprintf(out, "%s", s->model->study);
    else
        fprintf(out, "%.*s %s", (int)strcspn(name, "."), name, s->model->weak_clips > 0 ? "weak" : "strong");
    fprintf(out, ",%s,%d,%d,%lld,%lld,%lld,%.6g,%.6g,%.4f,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g\n", VJ_SCALING_MODEL,
            l->tensor, l->zero, (long long)s->config->parallel.bucket_mb, (long long)s->config->train.batch,
            (long long)(l->microbatches * l->microbatch), r->step_s, rate, each / s->base, l->compute_s, l->memory_s,
            r->tensor_s, r->exposed_s, r->gather_s, l->step_s, 1000 * r->step_s * l->nodes / 3600);
}

static vj_status simulate_all(study *s, FILE *out)
{
    const int units = (int)(s->machine.gpus ? s->machine.gpus : s->machine.numa);
    const int node_ranks = s->model->node_ranks > 0 ? s->model->node_ranks : units;
    int64_t nodes[MAX_POINTS];
    const int points = vj_parse_list(s->model->nodes, 1, 100000, nodes, MAX_POINTS);
    if (points < 0)
        return vj_raise(VJ_ERR_USAGE, "--nodes %s: numbers of nodes are expected, such as 1,2,4", s->model->nodes);
    fputs(VJ_SCALING_CSV_BEGIN "tensor,zero,bucket_mb,clips,clips_a_rank,step_s,clips_per_s,efficiency,products_s,"
                               "update_s,tensor_s,exposed_sums_s,gather_s,forecast_s,node_hours_per_1000_steps\n",
          out);
    for (int i = 0; i < points; i++) {
        vj_train_layout l;
        simulated r = {0};
        VJ_TRY(simulate_point(s, (int)nodes[i], node_ranks, &l, &r));
        put_row(s, out, &l, &r);
        vj_log("model: %lld nodes, %d ranks: %.4g s a step, %.4g s of it computing; forecast %.4g s",
               (long long)nodes[i], l.nodes * l.node_ranks, r.step_s, l.compute_s + l.memory_s, l.step_s);
    }
    return VJ_OK;
}

/* Find the simulated program: in the folder of this program, unless the environment names another. */
static vj_status find_program(study *s)
{
    static const char name[] = "vjepa-simulated-step";
    const char *named = getenv("VJEPA_SIMULATED_STEP");
    if (named) {
        snprintf(s->program, sizeof s->program, "%s", named);
    } else {
        const ssize_t length = readlink("/proc/self/exe", s->program, sizeof s->program - sizeof name);
        if (length < 0) return vj_raise(VJ_ERR_IO, "read the link /proc/self/exe");
        s->program[length] = '\0';
        strcpy(strrchr(s->program, '/') + 1, name);
    }
    if (access(s->program, R_OK) != 0)
        return vj_raise(VJ_ERR_LIBRARY,
                        "%s is not there: vjepa was built without SimGrid (Debian: libsimgrid-dev; then configure and "
                        "build again)",
                        s->program);
    return VJ_OK;
}

static void remove_files(const study *s)
{
    static const char *const names[] = {"platform.xml", "hosts", "workload", "result", "errors"};
    char path[VJ_PATH];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", s->folder, names[i]);
        (void)unlink(path); /* may not exist */
    }
    (void)rmdir(s->folder);
}

vj_status vj_scaling_simulate(const vj_scaling_model *model, vj_config *config, const char *config_path,
                              const char *path)
{
    const vj_pack_forecast pack = {0}; /* reading is not simulated */
    vj_file file = VJ_FILE_NONE;
    study *s = vj_calloc(1, sizeof *s);
    if (!s) return vj_raise(VJ_ERR_MEMORY, "no memory for a study");
    *s = (study){.model = model, .config = config, .config_path = config_path, .folder = "/tmp/vjepa-scale-XXXXXX"};
    s->machine = vj_machine_from(config);
    vj_status status = find_program(s);
    if (status == VJ_OK) status = vj_train_work_count(&s->work, config, &pack);
    if (status == VJ_OK && s->work.weight_floats[config->parallel.tensor] == 0)
        status = vj_raise(VJ_ERR_USAGE, "parallel.tensor %lld does not divide the network's heads",
                          (long long)config->parallel.tensor);
    if (status == VJ_OK && !mkdtemp(s->folder)) status = vj_raise(VJ_ERR_IO, "make the folder %s", s->folder);
    if (status == VJ_OK) {
        status = vj_file_begin_text(&file, path);
        if (status == VJ_OK) status = simulate_all(s, file.stream);
        if (status == VJ_OK) status = vj_file_commit(&file);
        vj_file_rollback(&file);
        remove_files(s);
    }
    free(s);
    return status;
}
