/* The peer that a broker has to be measured against: what a C programmer would write with libzmq in half an hour.
 *
 *   bench_proxy proxy FRONT BACK    ROUTER at FRONT, DEALER at BACK, zmq_proxy between them
 *   bench_proxy worker BACK         answers [client, header, body] with the header made a reply and the body as it came
 *
 * Proxy and worker are processes of their own, as they would be. Compiled by `mixline bench broker`, never installed. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <zmq.h>

enum { HEADER_BYTES = 128, KIND_AT = 5, STATUS_AT = 7, REPLY_BIT = 0x80, FRAMES_MAX = 8 };

static int fail(const char *what) {
    fprintf(stderr, "bench_proxy: %s: %s\n", what, zmq_strerror(zmq_errno()));
    return 1;
}

static int run_proxy(void *context, const char *front, const char *back) {
    void *router = zmq_socket(context, ZMQ_ROUTER), *dealer = zmq_socket(context, ZMQ_DEALER);
    if (zmq_bind(router, front) || zmq_bind(dealer, back)) return fail("bind");
    zmq_proxy(router, dealer, NULL);
    return fail("proxy");
}

static int run_worker(void *context, const char *back) {
    void *socket = zmq_socket(context, ZMQ_DEALER);
    zmq_msg_t frames[FRAMES_MAX];
    if (zmq_connect(socket, back)) return fail("connect");
    for (;;) {
        int count = 0;
        do {
            zmq_msg_init(&frames[count]);
            if (zmq_msg_recv(&frames[count], socket, 0) < 0) return fail("receive");
        } while (zmq_msg_more(&frames[count++]) && count < FRAMES_MAX);
        for (int at = 0; at < count; at++) {
            if (at == 1 && zmq_msg_size(&frames[at]) == HEADER_BYTES) {
                unsigned char *header = zmq_msg_data(&frames[at]);
                header[KIND_AT] |= REPLY_BIT;
                header[STATUS_AT] = 0;
            }
            if (zmq_msg_send(&frames[at], socket, at + 1 < count ? ZMQ_SNDMORE : 0) < 0) return fail("send");
        }
    }
}

int main(int argc, char **argv) {
    void *context = zmq_ctx_new();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc == 2 && !strcmp(argv[1], "version")) {
        int major, minor, patch;
        zmq_version(&major, &minor, &patch);
        printf("%d.%d.%d\n", major, minor, patch);
        return 0;
    }
    if (argc == 4 && !strcmp(argv[1], "proxy")) return run_proxy(context, argv[2], argv[3]);
    if (argc == 3 && !strcmp(argv[1], "worker")) return run_worker(context, argv[2]);
    fprintf(stderr, "usage: bench_proxy version | proxy FRONT BACK | worker BACK\n");
    return 64;
}
