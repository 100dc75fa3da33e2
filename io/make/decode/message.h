/*
 * Messages between parent and worker, over one SOCK_SEQPACKET Unix socket, which is the worker's standard input. The
 * worker sends a vj_decode_hello and receives the vj_decode_settings. Then, for each job, it receives a vj_decode_order
 * with two descriptors (the file, and empty shared memory) and sends a vj_decode_reply when the clips are in the shared
 * memory; before, from time to time, replies that only say how far it is. The parent checks every field of a reply
 * before it uses it.
 */
#ifndef VJ_DECODE_MESSAGE_H
#define VJ_DECODE_MESSAGE_H

#include <stddef.h>

#include "decode/decode.h"

/* Sent in the hello to detect a parent and a worker of different builds. */
#define VJ_DECODE_PROTOCOL                                                                                             \
    (UINT64_C(0x766a646300020000) + 64 * sizeof(vj_decode_order) + 8 * sizeof(vj_decode_settings) +                    \
     sizeof(vj_decode_reply))

typedef struct {
    uint64_t protocol;
    char sandbox[128]; /* restrictions that this system does not offer; "": all are in force */
} vj_decode_hello;

typedef struct {
    int64_t source;
    double start_s, end_s;
    int64_t windows; /* clips to make; 0: only the perceptual hash */
} vj_decode_order;

/* The shared memory holds the table vj_decoded_clip [clips], then the records at the offsets given in the table. */
typedef struct {
    double so_far; /* 0: the file is done. Else the part of it that is, up to 1, and no other field counts */
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

/** Send a message with up to two descriptors. Returns 0, or -1 with errno. */
int vj_message_send(int socket, const void *message, size_t bytes, const int *fds, int fd_count);

/**
 * Wait for a message of exactly `bytes` bytes with fd_count descriptors, which the caller must close. Returns 1; 0 if
 * the other side has closed the socket; -1 with errno, EPROTO for any other message.
 */
int vj_message_receive(int socket, void *message, size_t bytes, int *fds, int fd_count);

#endif
