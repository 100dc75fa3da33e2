/*
 * Reads media lists of all formats. The first byte is the format, the rest is the list; after a line "%%" follows the
 * file of labels, which only some formats have. Packing must be able to use each entry.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "pack/manifest.h"

static const char mark[] = "\n%%\n";
static char list[VJ_PATH], labels[VJ_PATH], scratch[VJ_PATH];

void vj_fuzz_begin(void)
{
    vj_fuzz_path(list, "list");
    vj_fuzz_path(labels, "labels");
    vj_fuzz_path(scratch, ".");
}

static vj_status take(void *user, const vj_media *m)
{
    const vj_media_names *names = user;
    VJ_FUZZ_CHECK(m->dataset >= 0 && m->dataset < names->dataset_count);
    VJ_FUZZ_CHECK(*m->path && strlen(m->path) < VJ_MEDIA_PATH && *m->listed && strlen(m->key) > 0);
    VJ_FUZZ_CHECK(m->end_s < 0 || m->end_s > m->start_s);
    VJ_FUZZ_CHECK(m->start_s < 1e9 && m->end_s < 1e9 && strlen(m->id) < VJ_RECORD_BYTES);
    for (int i = 0; i < VJ_MAX_LABELS; i++)
        VJ_FUZZ_CHECK(m->labels[i] == -1 || (m->labels[i] >= 0 && i < names->label_count));
    return VJ_OK;
}

void vj_fuzz_input(const uint8_t *data, size_t size)
{
    static vj_media_names names;
    vj_dataset_settings settings = {.name = "set"};
    if (size == 0) return;
    settings.format = data[0] % VJ_LIST_FOLDER;
    const uint8_t *body = data + 1, *end = data + size;
    const uint8_t *divider = memmem(body, (size_t)(end - body), mark, sizeof mark - 1);
    vj_fuzz_write(list, body, (size_t)((divider ? divider : end) - body));
    strcpy(settings.list, list);
    if (divider) {
        const uint8_t *rest = divider + sizeof mark - 1;
        vj_fuzz_write(labels, rest, (size_t)(end - rest));
        strcpy(settings.labels, labels);
    }
    memset(&names, 0, sizeof names);
    vj_class_names classes;
    vj_class_names_init(&classes, scratch);
    vj_fuzz_told(vj_manifest_read(&names, &classes, &settings, "label", scratch, take, &names));
    vj_class_names_release(&classes);
}

static void seed_list(void (*seed)(const uint8_t *data, size_t size), int format, const char *text)
{
    char data[1024];
    const int bytes = snprintf(data, sizeof data, "%c%s", 'A' + format, text);
    VJ_FUZZ_CHECK(bytes < (int)sizeof data);
    data[0] = (char)format;
    seed((const uint8_t *)data, (size_t)bytes);
    data[0] = VJ_LIST_AUTO;
    seed((const uint8_t *)data, (size_t)bytes);
}

/* One list of each published format. */
void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size))
{
    seed_list(seed, VJ_LIST_PLAIN, "videos/a.mp4 1\n/abs/with blank.webm 2\r\nc.mp4,3\n");
    seed_list(seed, VJ_LIST_CSV,
              "path,appearance,motion,dataset,start,end,id\r\na.mp4,1,-1,k400,0.5,2,x1\n\"b,\"\"q\"\".mp4\",2,3,,,,\n");
    seed_list(seed, VJ_LIST_CSV, "\xef\xbb\xbfpath\nx.mp4\n");
    seed_list(
        seed, VJ_LIST_JSON,
        "{\"path\":\"a.mp4\",\"label\":1,\"start\":0,\"end\":3.5}\n"
        "{\"path_bytes\":\"b\\\\xff\\\\\\\\.mp4\",\"labels\":{\"motion\":2},\"dataset\":\"ssv2\",\"id\":\"7\"}\n");
    seed_list(seed, VJ_LIST_JSON, "[{\"path\": \"a.mp4\", \"id\": 7},\n {\"path\": \"b\\u00e9.mp4\"}]");
    seed_list(
        seed, VJ_LIST_KINETICS,
        "label,youtube_id,time_start,time_end,split\nair drumming,-8tMYqLd3oU,10,20,train\n\n%%\nair drumming\nyoga\n");
    seed_list(seed, VJ_LIST_SSV2,
              "[{\"id\":\"78687\",\"label\":\"holding potato\",\"template\":\"Holding [something]\","
              "\"placeholders\":[\"potato\"]}]\n%%\n{\"Holding something\": \"27\"}");
    seed_list(seed, VJ_LIST_COCO,
              "{\"info\":{},\"images\":[{\"id\":7,\"file_name\":\"a.jpg\"}],\"annotations\":[{\"image_id\":7,"
              "\"category_id\":4}],"
              "\"categories\":[{\"id\":4,\"name\":\"Aves\"}]}\n%%\nAves 1\nFelis 0\n");
    seed_list(seed, VJ_LIST_HOWTO100M, "video_id,category_1,rank\nnVbIUDjzWY4,Cars & Other Vehicles,27\n");
}
