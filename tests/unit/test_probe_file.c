/*
 * Tests files of probes: round trips of every kind of probe, also on the device "strict"; another shape, other classes
 * and damage are refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <hdf5.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe/probe_file.h"

enum { D = 12, CLASSES = 3 };

static char folder[] = "/tmp/vj_probe_file_XXXXXX", path[128], other[128];
static char names[CLASSES][8] = {"apple", "pear", "plum"};
static const vj_clips_classes classes = {CLASSES, sizeof names[0], (char *)names};

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/probe.h5", folder);
    snprintf(other, sizeof other, "%s/other.h5", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    unlink(other);
    return rmdir(folder); /* fails if a file is left, such as a .part */
}

static vj_backend *open_backend(const char *name)
{
    vj_backend *be;
    assert_int_equal(vj_backend_open(&be, name, VJ_FP32, 1), VJ_OK);
    return be;
}

static vj_probe_file describe(const char *to)
{
    vj_probe_file f = {.facts = {.name = "fruit.attentive.10.vit.7",
                                 .task = "fruit",
                                 .encoder = "vit",
                                 .features = "online",
                                 .preset = "code",
                                 .precision = "fp32",
                                 .split = "class",
                                 .description = "lr 0.001",
                                 .labels = 10,
                                 .seed = 7,
                                 .encoder_digest = 0xfedcba9876543210,
                                 .train_digest = 5,
                                 .split_digest = 6,
                                 .training_samples = 240},
                       .classes = classes};
    snprintf(f.path, sizeof f.path, "%s", to);
    return f;
}

static vj_head *make_head(vj_backend *be, const vj_head_shape *shape, uint64_t seed)
{
    vj_head *head;
    assert_int_equal(vj_head_create(&head, be, shape), VJ_OK);
    assert_int_equal(vj_head_init(head, seed, 0.1), VJ_OK);
    return head;
}

static void assert_equal_weights(vj_backend *be, vj_head *head, vj_backend *be2, vj_head *head2)
{
    int64_t n, n2;
    const float *a = vj_head_state(head, &n), *b = vj_head_state(head2, &n2);
    const int64_t bytes = n * (int64_t)sizeof(float);
    float *x = malloc((size_t)bytes), *y = malloc((size_t)bytes);
    assert_int_equal(n, n2);
    vj_download(be, x, a, bytes);
    vj_download(be2, y, b, bytes);
    assert_int_equal(vj_sync(be), VJ_OK);
    assert_int_equal(vj_sync(be2), VJ_OK);
    assert_memory_equal(x, y, (size_t)bytes);
    free(x);
    free(y);
}

/* ------------------------------------------------------------------------------------------------ tests */

static void heads_come_back(void **state)
{
    (void)state;
    static const vj_head_shape shapes[] = {
        {VJ_POOL_AVERAGE, D, 1, CLASSES, 1, 5, 4, 0},
        {VJ_POOL_ATTENTIVE, D, 3, CLASSES, 1, 5, 4, 0},
        {VJ_POOL_ATTENTIVE, D, 2, CLASSES, 1, 5, 4, 1},
        {VJ_POOL_ATTENTIVE, D, 2, CLASSES, 3, 5, 4, 0},
    };
    vj_backend *be = open_backend("cpu"), *shut = open_backend("strict");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        vj_head *head = make_head(shut, &shapes[i], 3 + i), *back = make_head(be, &shapes[i], 1);
        vj_probe_file f = describe(path), g;
        vj_probe_file_of_head(&f, &shapes[i]);
        assert_int_equal(vj_probe_file_write_head(&f, shut, head), VJ_OK);
        assert_int_equal(vj_probe_file_open(&g, path), VJ_OK);
        assert_string_equal(g.facts.name, f.facts.name);
        assert_string_equal(g.facts.kind, i ? "attentive" : "average");
        assert_string_equal(g.facts.description, "lr 0.001");
        assert_true(g.facts.encoder_digest == f.facts.encoder_digest && g.facts.probe_digest == f.facts.probe_digest);
        uint64_t digest;
        assert_int_equal(vj_head_digest(&digest, shut, head), VJ_OK);
        assert_true(digest == g.facts.probe_digest);
        assert_true(g.facts.probe_digest != 0 && g.facts.class_digest == vj_clips_classes_digest(&classes));
        assert_true(g.facts.labels == 10 && g.facts.training_samples == 240 && g.facts.seed == 7);
        assert_string_equal(vj_clips_classes_name(&g.classes, 2), "plum");
        const vj_head_shape shape = vj_probe_file_head_shape(&g, 5, 4);
        assert_true(shape.pooling == shapes[i].pooling && shape.depth == shapes[i].depth && shape.D == D &&
                    shape.norm_last == shapes[i].norm_last && shape.classes == CLASSES && g.tokens == 5);
        if (i) assert_int_equal(shape.heads, shapes[i].heads);
        assert_int_equal(vj_probe_file_read_head(&g, be, back), VJ_OK);
        assert_equal_weights(shut, head, be, back);
        int64_t blocks, damaged;
        assert_int_equal(vj_probe_file_verify(path, &blocks, &damaged), VJ_OK);
        assert_true(blocks == vj_head_tensor_count(head) && damaged == 0);
        vj_probe_file_release(&g);
        vj_head_destroy(head);
        vj_head_destroy(back);
    }
    vj_backend_close(be);
    vj_backend_close(shut);
}

static void token_probes_come_back(void **state)
{
    (void)state;
    const vj_token_probe_shape shape = {D, 2, CLASSES, 3, 5};
    vj_backend *be = open_backend("cpu");
    vj_token_probe *probe, *back;
    assert_int_equal(vj_token_probe_create(&probe, be, &shape), VJ_OK);
    assert_int_equal(vj_token_probe_create(&back, be, &shape), VJ_OK);
    assert_int_equal(vj_token_probe_init(probe, 3, 0.1), VJ_OK);
    vj_probe_file f = describe(path), g;
    vj_probe_file_of_token_probe(&f, &shape);
    assert_int_equal(vj_probe_file_write_token_probe(&f, be, probe), VJ_OK);
    assert_int_equal(vj_probe_file_open(&g, path), VJ_OK);
    assert_true(g.on_tokens && vj_probe_file_head_shape(&g, 5, 1).depth == 3);
    assert_int_equal(vj_probe_file_read_token_probe(&g, be, back), VJ_OK);
    assert_memory_equal(vj_token_probe_state(back), vj_token_probe_state(probe),
                        (size_t)vj_token_probe_size(probe) * sizeof(float));
    vj_probe_file_release(&g);
    vj_token_probe_destroy(probe);
    vj_token_probe_destroy(back);
    vj_backend_close(be);
}

/* Check another order of classes and a head of another depth, and compare files. */
static void what_does_not_fit(void **state)
{
    (void)state;
    vj_head_shape shape = {VJ_POOL_ATTENTIVE, D, 3, CLASSES, 1, 5, 4, 0};
    vj_backend *be = open_backend("cpu");
    vj_head *head = make_head(be, &shape, 3), *second = make_head(be, &shape, 4);
    vj_probe_file f = describe(path), g = describe(other);
    char turned[CLASSES][8] = {"pear", "apple", "plum"};
    const vj_clips_classes another = {CLASSES, sizeof turned[0], (char *)turned}, none = {0};
    bool compared;
    vj_probe_file_of_head(&f, &shape);
    vj_probe_file_of_head(&g, &shape);
    assert_int_equal(vj_probe_file_write_head(&f, be, head), VJ_OK);
    assert_int_equal(vj_probe_file_check_classes(&f, "fruit", &classes, "store", &compared), VJ_OK);
    assert_true(compared);
    assert_int_equal(vj_probe_file_check_classes(&f, "fruit", &another, "store", &compared), VJ_ERR_USAGE);
    assert_int_equal(vj_probe_file_check_classes(&f, "fruit", &none, "store", &compared), VJ_OK);
    assert_false(compared);

    int64_t different;
    assert_int_equal(vj_probe_file_write_head(&g, be, second), VJ_OK);
    assert_int_equal(vj_probe_file_compare(path, path, stdout, &different), VJ_OK);
    assert_int_equal(different, 0);
    assert_int_equal(vj_probe_file_compare(path, other, stdout, &different), VJ_OK);
    assert_int_equal(different, 7); /* class layer and its bias, query, q, kv, fc1, fc2; the other biases and the norms
                                       start with equal values */
    g.classes = another;
    assert_int_equal(vj_probe_file_write_head(&g, be, head), VJ_OK);
    assert_int_equal(vj_probe_file_compare(path, other, stdout, &different), VJ_OK);
    assert_int_equal(different, 1);

    shape.depth = 2;
    vj_head *deep = make_head(be, &shape, 3);
    assert_int_equal(vj_probe_file_read_head(&f, be, deep), VJ_ERR_FORMAT);
    shape.depth = 1;
    shape.classes++;
    vj_head *more = make_head(be, &shape, 3);
    assert_int_equal(vj_probe_file_read_head(&f, be, more), VJ_ERR_FORMAT);
    vj_head *all[] = {head, second, deep, more};
    for (int i = 0; i < 4; i++) vj_head_destroy(all[i]);
    vj_backend_close(be);
}

/* Check that a changed value of a tensor, and each changed attribute, is found. */
static void damage(void **state)
{
    (void)state;
    const vj_head_shape shape = {VJ_POOL_ATTENTIVE, D, 3, CLASSES, 1, 5, 4, 0};
    vj_backend *be = open_backend("cpu");
    vj_head *head = make_head(be, &shape, 3);
    vj_probe_file f = describe(path), g;
    int64_t blocks, damaged;
    static const struct {
        const char *name;
        int64_t value;
    } wrong[] = {{"heads", 5},   {"heads", 0},        {"depth", 0},       {"width", -1},
                 {"classes", 0}, {"class_digest", 1}, {"probe_digest", 1}};
    for (int i = -1; i < (int)(sizeof wrong / sizeof wrong[0]); i++) {
        vj_probe_file_of_head(&f, &shape);
        assert_int_equal(vj_probe_file_write_head(&f, be, head), VJ_OK);
        const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        assert_true(file >= 0);
        if (i < 0) {
            float values[CLASSES] = {1, 2, 3};
            const hid_t set = H5Dopen2(file, "weights/linear.bias", H5P_DEFAULT);
            assert_true(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
            H5Dclose(set);
        } else {
            const hid_t a = H5Aopen(file, wrong[i].name, H5P_DEFAULT);
            assert_true(H5Awrite(a, H5T_NATIVE_INT64, &wrong[i].value) >= 0);
            H5Aclose(a);
        }
        H5Fclose(file);
        const bool of_weights = i < 0 || strcmp(wrong[i].name, "probe_digest") == 0;
        assert_int_equal(vj_probe_file_open(&g, path), of_weights ? VJ_OK : VJ_ERR_FORMAT);
        if (of_weights) {
            assert_int_equal(vj_probe_file_read_head(&g, be, head), VJ_ERR_FORMAT);
            assert_int_equal(vj_probe_file_verify(path, &blocks, &damaged), VJ_OK);
            assert_int_equal(damaged, 1);
        }
        vj_probe_file_release(&g);
    }
    vj_head_destroy(head);
    vj_backend_close(be);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_come_back),
        cmocka_unit_test(token_probes_come_back),
        cmocka_unit_test(what_does_not_fit),
        cmocka_unit_test(damage),
    };
    int failed = cmocka_run_group_tests(tests, setup, teardown);
    MPI_Finalize();
    return failed;
}
