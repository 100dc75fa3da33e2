/* Signatures of file types that users often have among their media. */
#include "video/signature.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

typedef struct {
    size_t at, bytes;
    const char *begin, *is;
} signature;

static const signature signatures[] = {
    {0, 2, "\x1f\x8b", "compressed by gzip: unpack it"},
    {0, 3, "BZh", "compressed by bzip2: unpack it"},
    {0, 6, "\xfd\x37zXZ\0", "compressed by xz: unpack it"},
    {0, 4, "\x28\xb5\x2f\xfd", "compressed by zstd: unpack it"},
    {0, 2, "\x1f\x9d", "compressed by compress: unpack it"},
    {0, 4, "PK\3\4", "a zip archive: unpack it"},
    {0, 6, "7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"},
    {0, 4, "Rar!", "a rar archive: unpack it"},
    {257, 5, "ustar", "a tar archive: unpack it"},
    {0, 8, "\x89HDF\r\n\x1a\n", "an HDF5 file"},
    {0, 6, "\x93NUMPY", "a NumPy file"},
    {0, 15, "SQLite format 3", "an SQLite file"},
    {0, 4, "PAR1", "a Parquet file"},
    {0, 5, "%PDF-", "a PDF document"},
    {0, 4, "%!PS", "a PostScript document"},
    {0, 4, "8BPS", "a Photoshop picture: this FFmpeg has no reader for it, save it as PNG or JPEG"},
    {0, 4, "\x76\x2f\x31\x01", "an OpenEXR picture: not read here, save it as PNG"},
    {0, 2, "\xff\x0a", "a JPEG XL picture: this FFmpeg has no reader for it, save it as PNG or JPEG"},
    {4, 8, "JXL \r\n\x87\n", "a JPEG XL picture: this FFmpeg has no reader for it, save it as PNG or JPEG"},
    {0, 15, "FUJIFILMCCD-RAW", "a raw photograph: develop it to JPEG or PNG"},
    {0, 4, "IIRO", "a raw photograph: develop it to JPEG or PNG"},
    {0, 4, "IIU\0", "a raw photograph: develop it to JPEG or PNG"},
    {8, 2, "CR", "a raw photograph: develop it to JPEG or PNG"},
    {0, 42, "version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS: the file itself was not fetched"},
};

/* Recognise ISO media files that hold pictures, by their major brand or a compatible brand. */
static const char *picture_brand(const unsigned char *begin, size_t bytes)
{
    static const char *const heif[] = {"heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"};
    static const char *const avif[] = {"avif", "avis"};
    if (bytes < 16 || memcmp(begin + 4, "ftyp", 4) != 0) return NULL;
    for (size_t at = 8; at + 4 <= bytes && at < 64; at += 4) /* the major brand, then the compatible brands */
        for (size_t i = 0; i < COUNT(avif); i++)
            if (at != 12 && memcmp(begin + at, avif[i], 4) == 0)
                return "an AVIF picture: this FFmpeg has no reader for it, save it as PNG or JPEG";
    for (size_t i = 0; i < COUNT(heif); i++)
        if (memcmp(begin + 8, heif[i], 4) == 0)
            return "a HEIF photograph (HEIC): this FFmpeg has no reader for it, save it as PNG or JPEG";
    if (memcmp(begin + 8, "crx ", 4) == 0) return "a raw photograph: develop it to JPEG or PNG";
    return NULL;
}

int vj_signature_is_animated_webp(const unsigned char *begin, size_t bytes)
{
    enum { ANIMATION = 2 }; /* flag of the header chunk */
    return bytes > 20 && memcmp(begin, "RIFF", 4) == 0 && memcmp(begin + 8, "WEBPVP8X", 8) == 0 &&
           (begin[20] & ANIMATION);
}

/* Text consists of printable characters of ASCII or UTF-8, line ends and tabs only. */
const char *vj_signature_text(const unsigned char *begin, size_t bytes)
{
    static const char *const pages[] = {"<!doctype html", "<html", "<head", "<body"};
    size_t blank = 0;
    if (bytes >= 3 && memcmp(begin, "\xef\xbb\xbf", 3) == 0) blank = 3;
    while (blank < bytes && strchr(" \t\r\n", begin[blank]) && begin[blank]) blank++;
    for (size_t i = 0; i < COUNT(pages); i++)
        if (bytes - blank >= strlen(pages[i]) &&
            strncasecmp((const char *)begin + blank, pages[i], strlen(pages[i])) == 0)
            return "a web page: what was downloaded is not the file";
    for (size_t i = blank; i + 4 < bytes; i++)
        if (strncasecmp((const char *)begin + i, "<svg", 4) == 0) return "an SVG drawing: save it as PNG";
    if (bytes - blank >= 5 && memcmp(begin + blank, "<?xml", 5) == 0) return "an XML text";
    for (size_t i = 0; i < bytes; i++)
        if ((begin[i] < ' ' && !strchr("\t\r\n\f", begin[i])) || begin[i] == 0x7f || begin[i] == 0) return NULL;
    return bytes > 0 ? "a text" : NULL;
}

const char *vj_signature(const unsigned char *begin, size_t bytes)
{
    size_t zeros = 0;
    for (size_t i = 0; i < COUNT(signatures); i++) {
        const signature *s = &signatures[i];
        if (s->at == 8 && bytes >= 4 && memcmp(begin, "II*\0", 4) != 0) continue; /* only inside a TIFF file */
        if (bytes >= s->at + s->bytes && memcmp(begin + s->at, s->begin, s->bytes) == 0) return s->is;
    }
    const char *is = picture_brand(begin, bytes);
    if (is) return is;
    while (zeros < bytes && begin[zeros] == 0) zeros++;
    if (bytes >= 16 && zeros == bytes) return "nothing but zeros: it was never written, or lost with a disk";
    return NULL;
}
