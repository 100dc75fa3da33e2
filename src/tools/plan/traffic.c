/* Counts the messages of a training step, as train/step.c and train/pretrain.c send them. */
#include <stdlib.h>

#include "parallel/parallel.h"
#include "parallel/traffic.h"
#include "plan/forecast.h"
#include "train/checkpoint.h"
#include "train/peers.h"
#include "train/precision.h"
#include "train/weight_gather.h"

/* Bytes of messages whose size does not depend on the model (train/step.c, pretrain.c, digest.c, spectrum.c). */
enum { REPORT = 8 * 8, JUDGEMENT = 16, DIGEST = 8 * 8, PIECE = 1 << 20 /* doubles of the covariance */ };

/* What the rows of the table are computed from. */
typedef struct {
    vj_forecast_traffic *table;
    const vj_config *c;
    const vj_train_layout *l;
    const vj_network *net;
    int ranks;       /* number of ranks of the job */
    int64_t *slice;  /* [data ranks + 1] borders of the ranks' slices of the flat vector (parallel.zero) */
    int *first_rank; /* [data ranks] the first rank on the same node, in the communicator of data ranks */
    bool devices;    /* training runs on GPUs */
    vj_status status;
} counting;

/* Add a row to the table and return its traffic, which the caller adds to. The job has `copies` communicators of this
 * name, and each has this traffic. */
static vj_traffic *row(counting *n, const char *communicator, const char *what, int64_t every, int64_t copies)
{
    VJ_ASSERT(n->table->rows < VJ_TRAFFIC_ROWS);
    vj_traffic_row *r = &n->table->row[n->table->rows++];
    *r = (vj_traffic_row){.communicator = communicator, .what = what, .every = every, .copies = copies};
    return &r->traffic;
}

static void count_world(counting *n)
{
    vj_traffic *t;
    if (n->ranks == 1) return;
    t = row(n, VJ_COMM_WORLD, "each rank's report of the step, the first rank's judgement", 1, 1);
    *t = (vj_traffic){2 * (int64_t)n->ranks, (int64_t)n->ranks * REPORT + JUDGEMENT};
    if (n->c->parallel.check_every > 0) {
        t = row(n, VJ_COMM_WORLD, "checksums of weights and moments (parallel.check_every)", n->c->parallel.check_every,
                1);
        *t = (vj_traffic){n->ranks, (int64_t)n->ranks * DIGEST};
    }
}

/* Return the number of blocks whose norms ranks exchange, because with parallel.zero each computes only its slice's. */
static int64_t norm_blocks(const vj_network *net)
{
    int64_t blocks = 0;
    for (int i = 0; i < net->params.count; i++) {
        const vj_param *p = &net->params.item[i];
        blocks += (p->count + vj_checkpoint_block(p) - 1) / vj_checkpoint_block(p);
    }
    return blocks;
}

static void count_covariance(const counting *n, int ranks, vj_traffic *t)
{
    const int64_t width = n->net->shape.width, cells = width * width;
    for (int64_t at = 0; at < cells; at += PIECE) {
        const int64_t doubles = cells - at < PIECE ? cells - at : PIECE;
        if (n->c->parallel.reduction == VJ_REDUCTION_REPRODUCIBLE) {
            vj_sum_doubles_count(t, ranks, doubles);
            continue;
        }
        t->messages += ranks;
        t->bytes += (ranks - 1) * doubles * (int64_t)sizeof(double);
    }
    t->messages += ranks;
    t->bytes += 2 * (int64_t)sizeof(double);
}

static void count_data(counting *n)
{
    const int ranks = n->l->data_ranks, tensor = n->l->tensor;
    const bool feature = n->net->shape.objective == VJ_OBJECTIVE_FEATURE;
    const int64_t width = n->net->shape.width, measure = n->c->log.rank_every;
    if (ranks == 1) return;
    vj_traffic *t = row(n, VJ_COMM_DATA, "losses, mean and spread of features", 1, tensor);
    vj_sum_doubles_count(t, ranks, n->c->mask.count + 1);
    if (feature) {
        vj_sum_doubles_count(t, ranks, 2 * width);
        vj_sum_doubles_count(t, ranks, 2);
    }
    if (n->l->zero) {
        t = row(n, VJ_COMM_DATA, "norms of the gradient (parallel.zero)", 1, tensor);
        vj_sum_doubles_count(t, ranks, norm_blocks(n->net));
    }
    if (feature && measure > 0) {
        t = row(n, VJ_COMM_DATA, "covariance of features (log.rank_every)", measure, tensor);
        count_covariance(n, ranks, t);
    }
}

static void count_tensor(counting *n)
{
    if (n->l->tensor == 1) return;
    vj_sum_doubles_count(row(n, VJ_COMM_TENSOR, "norms of the gradient", 1, n->l->data_ranks), n->l->tensor, 2);
}

/* Count the messages by which vj_optimizer's exchange() gathers on hosts a vector of so many floats, of which each rank
 * has a slice. */
static void count_host_gather(counting *n, int64_t floats, vj_traffic *t)
{
    const int ranks = n->l->data_ranks;
    int64_t *part = vj_calloc(ranks + 1, sizeof *part);
    VJ_ASSERT(part);
    for (int r = 0; r <= ranks; r++) part[r] = n->slice[r] < floats ? n->slice[r] : floats;
    if (n->status == VJ_OK) n->status = vj_group_count(t, VJ_COUNT_ALLGATHER, part, n->first_rank, ranks);
    free(part);
}

/* Count the messages by which train/peers.c gathers weights on GPUs. */
static void count_device_gather(counting *n, int64_t bucket, vj_traffic *t)
{
    const bool feature = n->net->shape.objective == VJ_OBJECTIVE_FEATURE;
    const bool rounded = vj_weights_are_rounded(false, vj_precision_of(n->c));
    vj_device_gather_plan plan = {.ranks = n->l->data_ranks, .bucket = bucket};
    vj_weight_gather what;
    if (n->status != VJ_OK) return;
    n->status = vj_weight_gather_describe(&what, &n->net->params, feature, rounded, n->slice, n->l->data_ranks);
    plan.vectors = what.vectors;
    for (int v = 0; v < what.vectors; v++) plan.vector[v] = what.vector[v];
    vj_device_gather_count(t, &plan, n->first_rank);
    vj_weight_gather_release(&what);
}

static void count_between_nodes(counting *n)
{
    const vj_train_layout *l = n->l;
    const int64_t floats = n->net->params.total;
    const bool feature = n->net->shape.objective == VJ_OBJECTIVE_FEATURE;
    if (l->nodes == 1 || l->data_ranks == 1) return;
    vj_traffic *t = row(n, VJ_COMM_ACROSS, "gradients, in pieces of parallel.bucket_mb", 1, l->tensor);
    const int64_t mb = n->c->parallel.bucket_mb;
    const vj_gradient_sum_plan plan = {.n = floats,
                                       .bucket = n->devices ? vj_peers_bucket(mb, l->nodes) : mb << 18,
                                       .first = l->zero ? n->slice : NULL};
    n->status = vj_gradient_sum_count(t, &plan, n->first_rank, l->data_ranks);
    if (!l->zero) return;
    t = row(n, VJ_COMM_ACROSS, feature ? "weights and the target's (parallel.zero)" : "weights (parallel.zero)", 1,
            l->tensor);
    if (n->devices) {
        count_device_gather(n, plan.bucket, t);
        return;
    }
    count_host_gather(n, floats, t);
    if (feature) count_host_gather(n, n->net->params.encoder_total, t);
}

/* Fill the table. Ranks are numbered node by node, and each node has the same number (base/program.h). */
static vj_status count(counting *n)
{
    const vj_train_layout *l = n->l;
    const int beside = l->node_ranks / l->tensor;
    n->slice = vj_calloc(l->data_ranks + 1, sizeof *n->slice);
    n->first_rank = vj_calloc(l->data_ranks, sizeof *n->first_rank);
    if (!n->slice || !n->first_rank) return vj_raise(VJ_ERR_MEMORY, "no memory to count messages");
    for (int r = 0; r < l->data_ranks; r++) n->first_rank[r] = r / beside * beside;
    VJ_TRY(vj_checkpoint_slices(&n->net->params, l->data_ranks, n->slice));
    count_world(n);
    count_data(n);
    count_tensor(n);
    count_between_nodes(n);
    for (int i = 0; i < n->table->rows; i++) {
        vj_traffic_row *r = &n->table->row[i];
        r->traffic.messages *= r->copies;
        r->traffic.bytes *= r->copies;
    }
    return n->status;
}

vj_status vj_train_traffic_count(vj_forecast_traffic *table, const vj_config *c, const vj_train_layout *l, bool devices)
{
    const vj_shape shape = vj_shape_from(c);
    vj_tensor tensor = {.size = l->tensor};
    vj_network net;
    *table = (vj_forecast_traffic){0};
    vj_network_describe(&net, &shape, 0, l->tensor > 1 ? &tensor : NULL);
    counting n = {.table = table,
                  .c = c,
                  .l = l,
                  .net = &net,
                  .ranks = l->nodes * l->node_ranks,
                  .devices = devices,
                  .status = VJ_OK};
    const vj_status status = count(&n);
    free(n.slice);
    free(n.first_rank);
    vj_network_release(&net);
    return status;
}
