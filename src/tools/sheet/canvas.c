/* Drawing, and the letters, which are drawn at twice the size given here. */
#include "sheet/canvas.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 8, COLUMNS = 6, IN_A_LINE = 16, SCALE = VJ_LETTER / COLUMNS };

/* The letters ' ' to DEL, sixteen in a line, each five columns and a gap wide. The eighth row is for descenders. */
static const char letters[6][ROWS][IN_A_LINE * COLUMNS + 1] = {
    {"        #    # #   # #    #   ##     ##     #      #   #                                      # ",
     "        #    # #   # #   #### ##  # #  #    #     #     #     #     #                        #  ",
     "        #         ##### # #      #  # #          #       #  # # #   #                        #  ",
     "        #          # #   ###    #    #           #       #   ###  #####       #####         #   ",
     "        #         #####   # #  #    # # #        #       #  # # #   #                      #    ",
     "                   # #  ####  #  ## #  #          #     #     #     #     ##         ##    #    ",
     "        #          # #    #      ##  ## #          #   #                  #          ##   #     ",
     "                                                                         #                      "},
    {" ###    #    ###   ###     #  #####  ###  #####  ###   ###                  #       #      ###  ",
     "#   #  ##   #   # #   #   ##  #     #         # #   # #   #  ##    ##      #         #    #   # ",
     "#  ##   #       #     #  # #  ####  #        #  #   # #   #  ##    ##     #   #####   #       # ",
     "# # #   #     ##    ##  #  #      # ####    #    ###   ####              #             #     #  ",
     "##  #   #    #        # #####     # #   #   #   #   #     #  ##    ##     #   #####   #     #   ",
     "#   #   #   #     #   #    #  #   # #   #  #    #   #     #  ##     #      #         #          ",
     " ###   ###  #####  ###     #   ###   ###   #     ###   ###         #        #       #       #   ",
     "                                                                                                "},
    {" ###   ###  ####   ###  ####  ##### #####  ###  #   #  ###    ### #   # #     #   # #   #  ###  ",
     "#   # #   # #   # #   # #   # #     #     #   # #   #   #      #  #  #  #     ## ## ##  # #   # ",
     "# ### #   # #   # #     #   # #     #     #     #   #   #      #  # #   #     # # # ##  # #   # ",
     "# # # ##### ####  #     #   # ####  ####  # ### #####   #      #  ##    #     # # # # # # #   # ",
     "# ### #   # #   # #     #   # #     #     #   # #   #   #      #  # #   #     #   # #  ## #   # ",
     "#     #   # #   # #   # #   # #     #     #   # #   #   #   #  #  #  #  #     #   # #  ## #   # ",
     " ###  #   # ####   ###  ####  ##### #      ###  #   #  ###   ##   #   # ##### #   # #   #  ###  ",
     "                                                                                                "},
    {"####   ###  ####   #### ##### #   # #   # #   # #   # #   # #####  ###  #      ###    #         ",
     "#   # #   # #   # #       #   #   # #   # #   # #   # #   #     #  #     #       #   # #        ",
     "#   # #   # #   # #       #   #   # #   # #   #  # #   # #     #   #     #       #  #   #       ",
     "####  #   # ####   ###    #   #   # #   # # # #   #     #     #    #      #      #              ",
     "#     # # # # #       #   #   #   #  # #  # # #  # #    #    #     #       #     #              ",
     "#     #  #  #  #      #   #   #   #  # #  ## ## #   #   #   #      #       #     #              ",
     "#      ## # #   # ####    #    ###    #   #   # #   #   #   #####  ###      #  ###        ##### ",
     "                                                                                                "},
    {" #          #               #         ##        #       #      #  #      ##                     ",
     "  #         #               #        #  #       #                 #       #                     ",
     "       ###  ####   ###   ####  ###   #     #### ####   ##     ##  #  #    #   ## #  ####   ###  ",
     "          # #   # #     #   # #   # ###   #   # #   #   #      #  # #     #   # # # #   # #   # ",
     "       #### #   # #     #   # #####  #    #   # #   #   #      #  ##      #   # # # #   # #   # ",
     "      #   # #   # #   # #   # #      #     #### #   #   #      #  # #     #   # # # #   # #   # ",
     "       #### ####   ###   ####  ###   #        # #   #  ###  #  #  #  #   ###  # # # #   #  ###  ",
     "                                           ###               ##                                 "},
    {"                         #                                           #    #    #                ",
     "                         #                                          #     #     #               ",
     "####   #### # ##   #### ###   #   # #   # #   # #   # #   # #####   #     #     #    #  #       ",
     "#   # #   # ##  # #      #    #   # #   # #   #  # #  #   #    #   #      #      #  # # #       ",
     "#   # #   # #      ###   #    #   # #   # # # #   #   #   #   #     #     #     #   #  #        ",
     "####   #### #         #  #  # #  ##  # #  # # #  # #   ####  #      #     #     #               ",
     "#         # #     ####    ##   ## #   #    # #  #   #     # #####    #    #    #                ",
     "#         #                                            ###                                      "},
};

vj_status vj_canvas_create(vj_canvas *c, int height, int width, vj_colour colour)
{
    *c = (vj_canvas){.height = height, .width = width, .pixels = malloc((size_t)height * (size_t)width * 3)};
    if (!c->pixels) return vj_raise(VJ_ERR_MEMORY, "no memory for a picture of %d x %d pixels", width, height);
    vj_canvas_fill(c, 0, 0, height, width, colour);
    return VJ_OK;
}

void vj_canvas_release(vj_canvas *c)
{
    free(c->pixels);
    *c = (vj_canvas){0};
}

static void put_pixel(vj_canvas *c, int y, int x, const uint8_t rgb[3])
{
    if (y >= 0 && y < c->height && x >= 0 && x < c->width)
        memcpy(c->pixels + ((size_t)y * (size_t)c->width + (size_t)x) * 3, rgb, 3);
}

void vj_canvas_fill(vj_canvas *c, int top, int left, int height, int width, vj_colour colour)
{
    for (int y = top; y < top + height; y++)
        for (int x = left; x < left + width; x++) put_pixel(c, y, x, colour.rgb);
}

void vj_canvas_put(vj_canvas *c, int top, int left, const uint8_t *pixels, int height, int width)
{
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            put_pixel(c, top + y, left + x, pixels + ((size_t)y * (size_t)width + (size_t)x) * 3);
}

static void put_letter(vj_canvas *c, int top, int left, char letter, vj_colour colour)
{
    const int number = (letter >= ' ' && letter <= '~' ? letter : '?') - ' ';
    for (int y = 0; y < ROWS; y++)
        for (int x = 0; x < COLUMNS; x++)
            if (letters[number / IN_A_LINE][y][number % IN_A_LINE * COLUMNS + x] == '#')
                vj_canvas_fill(c, top + SCALE * y, left + SCALE * x, SCALE, SCALE, colour);
}

void vj_canvas_text(vj_canvas *c, int top, int left, const char *text, vj_colour colour)
{
    for (; *text; text++, left += VJ_LETTER) put_letter(c, top, left, *text, colour);
}
