/*
 * How much longer sums over the data ranks and the exchange of weights make a step. Gradients are summed bucket by
 * bucket while the last backward pass computes them (parallel/gradient_sum.c). Part of the work on a bucket takes time
 * from computing; the rest runs concurrently on memory, links and network, of which the busiest sets the pace; and the
 * time of the last bucket is not hidden by anything. tests/scaling/model.sh compares this with a simulation of the same
 * code. Read time_buckets() first.
 */
#include <math.h>

#include "plan/forecast.h"
#include "train/peers.h"

/* Open MPI 4 broadcasts long messages in pieces of this many bytes, each a message. */
static const double broadcast_piece = 8192;

/*
 * Bytes moved in memory for each byte that is summed, as cluster.sum_gb_s counts; the same for each byte of gathered
 * weights.
 */
static const double touched_in_sum = 3, touched_in_gather = 2;

/* A mean bucket of gradients. */
typedef struct {
    double count;   /* of a step */
    double taken_s; /* time taken from computing: on processors sums and messages, on GPUs the kernels that sum over the
                       links */
    double pace_s;  /* time of the busiest of memory, links and network, or taken_s if that is longer */
    double through_s; /* from the moment that the last rank has computed it until all ranks have its sum, without
                         taken_s */
} buckets;

/* What the formulas are made of. */
typedef struct {
    const vj_machine *m;
    double nodes, beside;    /* data ranks of a tensor group's place on one node */
    double bytes;            /* of a rank's part of a bucket */
    double own;              /* the part of it whose sum the ranks of one node get: all of it, or their slices */
    double network_s;        /* all tensor groups' buckets at a time */
    double messages, post_s; /* that a rank sends, and their cost */
} bucket;

static bucket mean_bucket(const vj_train_layout *l, const vj_machine *m, double vector, double count)
{
    const double nodes = l->nodes, bytes = vector / count / l->tensor;
    bucket b = {.m = m, .nodes = nodes, .beside = (double)l->node_ranks / l->tensor, .bytes = bytes, .own = 1};
    if (l->zero) b.own = fmin(1, count / nodes);
    if (nodes == 1) return b;
    /* The parts of the sum go to all nodes, or only to the node whose ranks own the slices. */
    b.network_s = (1 + b.own) * (nodes - 1) / nodes * bytes * l->tensor / m->network_bytes_s;
    b.messages = l->zero ? nodes : 2 * (nodes - 1);
    b.post_s = b.messages * m->message_s;
    return b;
}

/*
 * Processors sum and send between their products, while the network works concurrently. A sum is copied to the other
 * ranks of the node, or only to the rank that owns the slice, which is seldom on this node.
 */
static void on_processors(buckets *all, const bucket *b, int tensor, bool zero)
{
    const double s = b->beside, copies = (s - 1) / s * (zero ? 1 / (b->nodes * s) : 1);
    const double touched = (s + 1) / s + 2 * copies + (b->nodes > 1 ? (b->nodes + 1) / b->nodes / s : 0);
    all->taken_s = touched / touched_in_sum * b->bytes * tensor / b->m->sum_bytes_s + b->post_s;
    all->pace_s = fmax(all->taken_s, b->network_s);
    all->through_s = b->network_s + (b->nodes > 1 ? 2 * b->m->message_s : 0);
}

/*
 * The work of train/peers.h on its lanes; the host posts the messages. If MPI cannot access GPU memory, a rank's share
 * of the node's sum is copied to the host, and what arrives from other nodes is copied back.
 */
static void on_gpus(buckets *all, const bucket *b, bool zero)
{
    const double s = b->beside, link = b->bytes / s / b->m->gpu_link_bytes_s;
    const double deliver_s = zero ? b->own * link : (s - 1) * link;
    const bool staged = b->nodes > 1 && !b->m->gpu_to_gpu;
    const double copied = 2 + b->own * (b->nodes - 1) / b->nodes;
    const double copy_s = staged ? copied * b->bytes / s / b->m->gpu_host_bytes_s : 0;
    all->taken_s = (s - 1) * link;
    all->through_s = deliver_s + copy_s + b->network_s + b->post_s + (b->nodes > 1 ? 2 * b->m->message_s : 0);
    all->pace_s = fmax(fmax(all->taken_s + deliver_s, copy_s), fmax(b->network_s, b->post_s));
    if (b->nodes > 1) all->pace_s = fmax(all->pace_s, (all->taken_s + all->through_s) / VJ_SUM_SLOTS);
}

/* How much the sums make a step longer if they run during a backward pass of backward_s; 0: they begin after it. */
static double time_buckets(const buckets *all, double backward_s)
{
    const double hidden_s = backward_s / all->count + all->taken_s; /* for each bucket */
    return all->count * all->taken_s + all->through_s + fmax(0, (all->count - 1) * (all->pace_s - hidden_s));
}

/* Time to gather weights node after node through the shared memory of the nodes (parallel/group.c). */
static double time_gather_on_processors(const vj_train_layout *l, const vj_machine *m, double back)
{
    const double beside = (double)l->node_ranks / l->tensor;
    const double shared_s = beside > 1 ? touched_in_gather / touched_in_sum * back / m->sum_bytes_s : 0;
    if (l->nodes == 1) return shared_s;
    return shared_s + back / m->network_bytes_s + m->message_s * back / l->tensor / beside / broadcast_piece;
}

/*
 * Time to gather weights from GPU to GPU within a node, and between nodes in rounds in which every GPU sends a piece to
 * the other nodes (parallel/device_gather.c). What arrives in a round is copied to the GPU and then to its neighbours,
 * one after the other, and the next piece is copied to the host after that.
 */
static double time_gather_on_gpus(const vj_train_layout *l, const vj_machine *m, double back)
{
    const double n = l->nodes, s = (double)l->node_ranks / l->tensor, mine = back / l->tensor;
    const double piece = (double)l->bucket_floats * sizeof(float) / s / n, rounds = mine / n / s / piece;
    const double link_s = (s - 1) * piece / m->gpu_link_bytes_s;
    if (l->nodes == 1) return rounds * link_s;
    const double host_s = m->gpu_to_gpu ? 0 : piece / m->gpu_host_bytes_s;
    const double network_s = (n - 1) * piece * l->node_ranks / m->network_bytes_s, post_s = (n - 1) * m->message_s;
    const double device_s = host_s + (n - 1) * fmax(host_s, link_s) + fmin(host_s, link_s);
    const double way_s = device_s + network_s + post_s + 2 * m->message_s;
    const double pace_s = fmax(fmax(device_s, way_s / VJ_SUM_SLOTS), fmax(network_s, post_s));
    return rounds * link_s + way_s + (rounds - 1) * pace_s; /* its own slice goes to the neighbours first */
}

void vj_train_layout_time_sums(vj_train_layout *l, const vj_config *c, const vj_train_work *w, const vj_machine *m)
{
    const double word = sizeof(float), floats = (double)w->weight_floats[l->tensor];
    const double vector = l->tensor * floats * word;
    const double gathered = (double)w->gathered_bytes[l->tensor][m->gpus > 0];
    const double back = l->zero ? l->tensor * gathered : 0;
    const int64_t mb = c->parallel.bucket_mb;
    l->bucket_floats = m->gpus ? vj_peers_bucket(mb, l->nodes) : mb << 18;
    if (l->data_ranks == 1) return;
    buckets all = {.count = ceil(floats / (double)l->bucket_floats)};
    const bucket b = mean_bucket(l, m, vector, all.count);
    if (m->gpus)
        on_gpus(&all, &b, l->zero);
    else
        on_processors(&all, &b, l->tensor, l->zero);
    /* Each node sums its part for all nodes, and sends the others what it has summed or updated. */
    l->network_bytes = (l->nodes - 1.0) / l->nodes * (vector + (l->zero ? back : vector));
    l->messages = b.messages * all.count;
    /* With reproducible and several microbatches the sum over the ranks begins after the last microbatch. */
    const bool waits = c->parallel.reduction == VJ_REDUCTION_REPRODUCIBLE && l->microbatches > 1;
    const double backward_s = l->compute_s / (double)l->microbatches * 2 / 3;
    l->sum_s = time_buckets(&all, waits ? 0 : backward_s);
    if (l->zero) l->sum_s += m->gpus ? time_gather_on_gpus(l, m, back) : time_gather_on_processors(l, m, back);
}
