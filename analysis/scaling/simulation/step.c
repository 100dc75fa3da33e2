/*
 * A training step on a simulated machine. Computing is only time that passes; communication is the code of
 * src/parallel, called as in training. vjepa-scale --model builds and runs this program under SimGrid SMPI, and writes
 * the file that is its argument, with lines "key value". It prints simulated seconds as lines "key value".
 *
 * Two parts of the step are simulated: some buckets of the gradient, and twice as many, each with its share of
 * computing. The difference of their times is the time of further buckets, from which the time of the whole step
 * follows. All messages have their full size.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "machine.h"
#include "parallel/device_gather.h"
#include "parallel/gradient_sum.h"
#include "parallel/group.h"
#include "parallel/parallel.h"
#include "parallel/traffic.h"

typedef struct {
    double node_ranks, tensor, zero;
    double floats, bucket_floats, part_floats; /* of a rank's vector, of a bucket, of the simulated part */
    double gathered_bytes;                     /* weights that are gathered, slices of all ranks */
    double compute_s, backward_s, update_s;    /* all microbatches; the last backward pass among them; update */
    double sums_rate, tensor_rate;             /* bytes a second that a rank reads and writes */
    double gpu_link_bytes_s, gpu_host_bytes_s; /* of a GPU, to others of the node and to the host; 0: no GPU */
    double gpu_to_gpu;                         /* MPI takes memory of GPUs */
    double network_bytes_s, message_s;         /* of a node, each way; cost of a message */
    double tensor_sums, tensor_floats;         /* sums of activations in a step, and floats of each */
    double tensor_byte_s;                      /* seconds for a byte of these sums on a device */
    double small_doubles;                      /* number of doubles exchanged for losses, features, norms */
} workload;

static const struct {
    const char *key;
    size_t at;
} keys[] = {
#define KEY(name)                                                                                                      \
    {                                                                                                                  \
#name, offsetof(workload, name)                                                                                \
    }
    KEY(node_ranks),       KEY(tensor),           KEY(zero),
    KEY(floats),           KEY(bucket_floats),    KEY(part_floats),
    KEY(gathered_bytes),   KEY(compute_s),        KEY(backward_s),
    KEY(update_s),         KEY(sums_rate),        KEY(tensor_rate),
    KEY(gpu_link_bytes_s), KEY(gpu_host_bytes_s), KEY(gpu_to_gpu),
    KEY(tensor_sums),      KEY(tensor_floats),    KEY(small_doubles),
    KEY(network_bytes_s),  KEY(message_s),        KEY(tensor_byte_s),
#undef KEY
};
enum { KEYS = sizeof keys / sizeof keys[0] };

static vj_status read_workload(workload *w, const char *path)
{
    char key[64];
    double value;
    int found = 0;
    FILE *file = fopen(path, "r");
    if (!file) return vj_raise(VJ_ERR_IO, "open %s", path);
    while (fscanf(file, "%63s %lf", key, &value) == 2)
        for (int i = 0; i < KEYS; i++)
            if (strcmp(key, keys[i].key) == 0) {
                memcpy((char *)w + keys[i].at, &value, sizeof value);
                found++;
            }
    fclose(file);
    return found == KEYS ? VJ_OK : vj_raise(VJ_ERR_FORMAT, "%s has %d of %d keys", path, found, KEYS);
}

/* A simulated rank. */
typedef struct {
    workload w;
    MPI_Comm data, tensor;
    int nodes, node, rank, size, data_rank, data_size;
    int64_t n;    /* floats of the simulated part of the vector */
    double share; /* simulated part / whole vector */
    int64_t *slice;
    vj_group *group, *tensor_group;
    vj_gradient_sum *sum;
    vj_traffic counted;       /* of the sum */
    simulated_device *device; /* a GPU; NULL: the rank computes */
    vj_window window;         /* of the GPUs' gathers */
    int *first_rank;          /* [data_size] on the same node */
} simulated_rank;

/* Seconds of a part of the step: the whole part; sums of gradients after the last backward pass; gathering weights. */
enum { STEP, EXPOSED, GATHER, TIMES };

/* Cut slices of the size that those of the whole vector have; slices before the simulated part are empty. */
static void cut_slices(simulated_rank *s)
{
    s->slice = calloc((size_t)s->data_size + 1, sizeof *s->slice);
    VJ_ASSERT(s->slice);
    for (int r = 0; r <= s->data_size; r++) {
        const int64_t at = (int64_t)(s->w.floats * r / s->data_size) - ((int64_t)s->w.floats - s->n);
        s->slice[r] = at < 0 ? 0 : at;
    }
}

static vj_status open_rank(simulated_rank *s)
{
    simulated_network_open((int)s->w.node_ranks, s->w.network_bytes_s, s->w.message_s);
    const int tensor = (int)s->w.tensor, node = s->node = s->rank / (int)s->w.node_ranks;
    s->nodes = s->size / (int)s->w.node_ranks;
    MPI_Comm_split(MPI_COMM_WORLD, s->rank % tensor, s->rank, &s->data);
    MPI_Comm_split(MPI_COMM_WORLD, s->rank / tensor, s->rank, &s->tensor);
    MPI_Comm_rank(s->data, &s->data_rank);
    MPI_Comm_size(s->data, &s->data_size);
    const int beside = (int)s->w.node_ranks / tensor;
    s->first_rank = calloc((size_t)s->data_size, sizeof *s->first_rank);
    VJ_ASSERT(s->first_rank);
    for (int r = 0; r < s->data_size; r++) s->first_rank[r] = r / beside * beside;
    if (tensor > 1) VJ_TRY(vj_group_open(&s->tensor_group, s->tensor, node));
    if (s->data_size > 1) VJ_TRY(vj_group_open(&s->group, s->data, node));
    if (s->w.gpu_link_bytes_s == 0) return VJ_OK;
    VJ_TRY(vj_window_open(&s->window, s->data, 1, node));
    return simulated_device_open(&s->device, s->window.node, s->w.gpu_link_bytes_s,
                                 s->w.gpu_to_gpu > 0 ? 0 : s->w.gpu_host_bytes_s);
}

/* Compute for `seconds`. With a GPU the host has queued this work long before, and meanwhile attends to the sums. */
static void compute(simulated_rank *s, double seconds)
{
    enum { LOOKS = 16 };
    if (!s->device) {
        simulated_work(seconds);
        return;
    }
    simulated_device_compute(s->device, seconds);
    for (double busy_s; (busy_s = simulated_device_busy(s->device)) > 0;) {
        simulated_work(seconds > 0 && busy_s > seconds / LOOKS ? seconds / LOOKS : busy_s);
        if (s->sum) vj_gradient_sum_made(s->sum, s->n);
    }
}

static vj_status begin_part(simulated_rank *s, int64_t floats)
{
    s->n = floats;
    s->share = (double)floats / s->w.floats;
    free(s->slice);
    cut_slices(s);
    if (s->data_size == 1) return VJ_OK;
    const vj_gradient_sum_plan plan = {.alone = simulated_memory(),
                                       .n = s->n,
                                       .bucket = (int64_t)s->w.bucket_floats,
                                       .first = s->w.zero > 0 ? s->slice : NULL,
                                       .threads = 1,
                                       .sum = s->device ? simulated_device_sum : NULL,
                                       .device = s->device ? simulated_device_ops(s->device) : NULL,
                                       .user = s->device,
                                       .node = s->node};
    s->counted = (vj_traffic){0};
    if (s->rank == 0) VJ_TRY(vj_gradient_sum_count(&s->counted, &plan, s->first_rank, s->data_size));
    vj_gradient_sum_close(s->sum);
    return vj_gradient_sum_open(&s->sum, s->data, &plan);
}

/* Return the seconds of all sums of activations in a tensor group. One is simulated; all take the same time. Devices
 * sum without the hosts (model/tensor_device.c), so the forecast's time is used for them. */
static double sum_activations(simulated_rank *s)
{
    const double bytes = s->w.tensor_floats * sizeof(float);
    if (!s->tensor_group) return 0;
    MPI_Barrier(MPI_COMM_WORLD);
    const double begin = MPI_Wtime();
    simulated_memory_rate(s->w.tensor_rate);
    if (s->device)
        simulated_work(bytes * s->w.tensor_byte_s);
    else
        vj_group_allreduce(s->tensor_group, simulated_memory(), (int64_t)s->w.tensor_floats);
    simulated_memory_rate(s->w.sums_rate);
    return (MPI_Wtime() - begin) * s->w.tensor_sums;
}

/* Check that all ranks together have sent what parallel/traffic.h counts. The first rank has the counts. */
static vj_status check_traffic(simulated_rank *s, const char *what, const vj_traffic *counted)
{
    int64_t sent[2];
    simulated_sent(sent);
    MPI_Allreduce(MPI_IN_PLACE, sent, 2, MPI_INT64_T, MPI_SUM, s->data);
    if (s->rank > 0 || (sent[0] == counted->messages && sent[1] == counted->bytes)) return VJ_OK;
    return vj_raise(VJ_ERR_STATE, "%s sent %lld messages of %lld bytes; counted were %lld of %lld", what,
                    (long long)sent[0], (long long)sent[1], (long long)counted->messages, (long long)counted->bytes);
}

/* Get the seconds of a gather by GPUs (train/peers.c) in which each has a slice of `floats` floats for all others. */
static vj_status gather_slices(simulated_rank *s, int64_t floats, double *seconds)
{
    const vj_sum_device *device = simulated_device_ops(s->device);
    vj_device_gather *gather;
    vj_traffic counted = {0};
    int64_t *first = calloc((size_t)s->data_size + 1, sizeof *first);
    VJ_ASSERT(first);
    for (int r = 0; r <= s->data_size; r++) first[r] = r * floats;
    const vj_device_gather_plan plan = {
        .vector = {{(void *const *)device->vectors, s->data_size * floats, sizeof(float), first}},
        .vectors = 1,
        .rank = s->data_rank,
        .ranks = s->data_size,
        .bucket = (int64_t)s->w.bucket_floats,
        .device = device,
        .user = s->device};
    VJ_TRY(vj_device_gather_open(&gather, &s->window, &plan));
    if (s->rank == 0) vj_device_gather_count(&counted, &plan, s->first_rank);
    MPI_Barrier(s->data);
    const double begin = MPI_Wtime();
    simulated_device_start(s->device);
    vj_device_gather_run(gather);
    compute(s, 0);
    *seconds = MPI_Wtime() - begin;
    vj_device_gather_close(gather);
    free(first);
    return check_traffic(s, "the gather", &counted);
}

/* Get the seconds of gathering all slices, from simulating some rounds of pieces, and twice as many. */
static vj_status gather_on_devices(simulated_rank *s, double *seconds)
{
    enum { ROUNDS = 4 };
    const int64_t part = ROUNDS * (int64_t)(s->w.bucket_floats / s->data_size);
    const double slice = s->w.gathered_bytes / sizeof(float) / s->data_size;
    double one, two;
    VJ_TRY(gather_slices(s, part, &one));
    VJ_TRY(gather_slices(s, 2 * part, &two));
    *seconds = two + (slice / (double)part - 2) * (two - one);
    return VJ_OK;
}

/* Simulate the last backward pass, one bucket after another, then the rest of the sum. Sums of activations over tensor
 * groups are timed separately, because they do not use the network. */
static void reduce(simulated_rank *s, double *times)
{
    const double backward_s = s->w.backward_s * s->share;
    const int64_t bucket = (int64_t)s->w.bucket_floats, buckets = (s->n + bucket - 1) / bucket;
    for (int64_t i = buckets - 1; i >= 0; i--) {
        compute(s, backward_s / (double)buckets);
        if (s->sum) vj_gradient_sum_made(s->sum, i * bucket);
    }
    const double begin = MPI_Wtime();
    if (s->sum) vj_gradient_sum_end(s->sum);
    times[EXPOSED] = MPI_Wtime() - begin;
}

/* Return the seconds of exchanging losses, features, norms, and the decision of the first rank. They are exchanged once
 * a step, whatever part is simulated. */
static double small_exchanges(const simulated_rank *s)
{
    double report[7] = {0}, *all = calloc((size_t)s->size, sizeof report);
    double *values = calloc((size_t)s->w.small_doubles, sizeof *values);
    VJ_ASSERT(all && values);
    MPI_Barrier(MPI_COMM_WORLD);
    const double begin = MPI_Wtime();
    vj_sum_doubles(s->data, values, (int)s->w.small_doubles);
    MPI_Allgather(report, 7, MPI_DOUBLE, all, 7, MPI_DOUBLE, MPI_COMM_WORLD);
    free(values);
    free(all);
    return MPI_Wtime() - begin;
}

/* Simulate a part of the step with `floats` floats, and get the times of the slowest rank. */
static vj_status run_part(simulated_rank *s, int64_t floats, double times[TIMES])
{
    const workload *w = &s->w;
    VJ_TRY(begin_part(s, floats));
    memset(times, 0, TIMES * sizeof *times);
    simulated_memory_rate(w->sums_rate);
    MPI_Barrier(MPI_COMM_WORLD);
    const double begin = MPI_Wtime();
    if (s->device) simulated_device_start(s->device);
    compute(s, (w->compute_s - w->backward_s) * s->share);
    reduce(s, times);
    if (s->sum) VJ_TRY(check_traffic(s, "the sum", &s->counted));
    compute(s, w->update_s * s->share);
    const double gathers = MPI_Wtime();
    if (s->group && w->zero > 0 && !s->device) vj_group_allgather(s->group, simulated_memory(), s->slice);
    /* The weights of the target encoder are gathered in the same way. */
    times[GATHER] = (MPI_Wtime() - gathers) * w->gathered_bytes / w->floats / sizeof(float);
    times[STEP] = gathers - begin + times[GATHER];
    MPI_Allreduce(MPI_IN_PLACE, times, TIMES, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return VJ_OK;
}

static vj_status simulate(simulated_rank *s)
{
    static const char *const names[TIMES] = {"step_s", "exposed_s", "gather_s"};
    const int64_t part = (int64_t)s->w.part_floats;
    double one[TIMES], two[TIMES], gather_s = 0;
    simulated_memory();
    VJ_TRY(open_rank(s));
    double tensor_s = sum_activations(s);
    const double small_s = small_exchanges(s), more = (s->w.floats - 2.0 * (double)part) / (double)part;
    VJ_TRY(run_part(s, part, one));
    VJ_TRY(run_part(s, 2 * part, two));
    if (s->group && s->device && s->w.zero > 0) VJ_TRY(gather_on_devices(s, &gather_s));
    double once[] = {small_s + tensor_s + gather_s, 0, gather_s}; /* do not depend on the simulated part */
    MPI_Allreduce(MPI_IN_PLACE, once, TIMES, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    MPI_Allreduce(MPI_IN_PLACE, &tensor_s, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    for (int i = 0; i < TIMES && s->rank == 0; i++)
        printf("%s %.9g\n", names[i], two[i] + more * (two[i] - one[i]) + once[i]);
    if (s->rank == 0) printf("tensor_s %.9g\nsmall_s %.9g\n", tensor_s, small_s);
    return VJ_OK;
}

int main(int argc, char **argv)
{
    simulated_rank s = {0};
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &s.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &s.size);
    vj_status status = argc == 2 ? read_workload(&s.w, argv[1]) : vj_raise(VJ_ERR_USAGE, "a file is expected");
    if (status == VJ_OK) status = simulate(&s);
    MPI_Finalize();
    return status == VJ_OK ? VJ_EXIT_DONE : VJ_EXIT_FAILED;
}
