/* Reads lists of held-out ids in all their forms. An input is two lists with a line "%%" between them. */
#include <string.h>

#include "fuzz.h"
#include "pack/held_out.h"

static const char mark[] = "\n%%\n";
static vj_strings lists;
static char scratch[VJ_PATH];

void vj_fuzz_begin(void)
{
    vj_fuzz_path(lists.item[0], "first");
    vj_fuzz_path(lists.item[1], "second");
    vj_fuzz_path(scratch, ".");
}

void vj_fuzz_input(const uint8_t *data, size_t size)
{
    vj_held_out held_out;
    const uint8_t *end = data + size, *divider = size ? memmem(data, size, mark, sizeof mark - 1) : NULL;
    const uint8_t *rest = divider ? divider + sizeof mark - 1 : end;
    vj_fuzz_write(lists.item[0], data, (size_t)((divider ? divider : end) - data));
    vj_fuzz_write(lists.item[1], rest, (size_t)(end - rest));
    lists.count = divider ? 2 : 1;
    vj_status status = vj_fuzz_told(vj_held_out_read(&held_out, &lists, scratch));
    VJ_FUZZ_CHECK(status != VJ_OK || (held_out.entries >= lists.count && held_out.ids.count <= held_out.entries));
    if (status == VJ_OK) (void)vj_held_out_has(&held_out, "nothing", "folder/nothing.mp4");
    vj_held_out_release(&held_out);
}

void vj_fuzz_seeds(void (*seed)(const uint8_t *data, size_t size))
{
    static const char plain[] = "-8tMYqLd3oU\nval/abc_000010_000020.mp4 12\n",
                      csv[] = "\"path\",\"label\"\r\n\"a,b.mp4\",3\r\n",
                      both[] = "label,youtube_id,time_start,time_end,split\nyoga,abc,1,2,val\n\n%%\n"
                               "[{\"id\": 78687}, {\"path\": \"v/x.webm\"}]";
    seed((const uint8_t *)plain, sizeof plain - 1);
    seed((const uint8_t *)csv, sizeof csv - 1);
    seed((const uint8_t *)both, sizeof both - 1);
}
