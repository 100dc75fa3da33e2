/*
 * What parent and worker say to each other, over one Unix socket of whole messages (SOCK_SEQPACKET), standard input of
 * the worker: it says hello, is told the settings, then for each job it gets two descriptors, of the file and of empty
 * shared memory, and replies when the clips are there. The parent believes nothing in a reply without looking.
 */
#ifndef VJ_DECODE_MESSAGE_H
#define VJ_DECODE_MESSAGE_H

#include <stddef.h>

#include "decode/decode.h"

/* Both sides are of one build; this tells when they are not. */
#define VJ_DECODE_PROTOCOL                                                                                             \
    (UINT64_C(0x766a646300010000) + 64 * sizeof(vj_decode_order) + 8 * sizeof(vj_decode_settings) +                    \
     sizeof(vj_decode_reply))

typedef struct {
    uint64_t protocol;
    char sandbox[128]; /* what of the sandbox could not be had; "": all is there */
} vj_decode_hello;

typedef struct {
    int64_t source;
    double start_s, end_s;
    int64_t windows; /* 0: only the look */
} vj_decode_order;

/* Shared memory: the clips' table [clips] of vj_decoded_clip, then records where the table says. */
typedef struct {
    int64_t source;
    int32_t verdict, clips;
    int32_t leaving; /* the worker must be replaced now */
    char reason[VJ_VIDEO_REASON];
    vj_video_info info;
    uint64_t digest;
    int64_t frames;
    double seconds;
    vj_phash look;
} vj_decode_reply;

/** Send a message with up to two descriptors; errno and -1. */
int vj_message_send(int socket, const void *message, size_t bytes, const int *fds, int fd_count);

/**
 * Wait for a message of exactly `bytes` with fd_count descriptors, which become the caller's. 1; 0: the other side is
 * gone; -1 with errno, EPROTO for any other message.
 */
int vj_message_receive(int socket, void *message, size_t bytes, int *fds, int fd_count);

#endif
