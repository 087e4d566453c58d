/* Load at a fixed rate over HTTP/1.1 keepalive connections, one request at a time on each.
 *
 * Open loop: request number i is due at start + i / rate, whatever has been answered so far. It is sent
 * on the connection that has been idle for longest; when none is, it waits. Its latency begins when it was
 * due, so a gateway that stalls is charged for the requests that had to wait meanwhile. One thread; the
 * process sleeps between requests, so that the backend can share its CPU.
 *
 *     rate HOST PORT PATH RATE SECONDS CONNECTIONS
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 4096, BUFFER = 64 * 1024, EVENTS = 256 };

struct connection {
    int fd;
    long long due;        /* of the request that it is busy with, ns */
    size_t have;          /* bytes of the answer in the buffer */
    char buffer[BUFFER];
};

static struct connection *connections;
static int idle[MAX_CONNECTIONS], idle_first, idle_count, connection_count;
static char request[4096];
static size_t request_length;
static unsigned *latency, *late;     /* us, one for each request */
static long long done, sent, errors, non2xx, bytes;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void give_back(int i) {
    idle[(idle_first + idle_count++) % connection_count] = i;
}

static void send_one(long long due, long long now) {
    int i = idle[idle_first];
    idle_first = (idle_first + 1) % connection_count;
    idle_count--;
    struct connection *c = &connections[i];
    c->due = due;
    c->have = 0;
    late[sent] = (now - due) / 1000;
    sent++;
    if (send(c->fd, request, request_length, MSG_NOSIGNAL) != (ssize_t)request_length) {
        errors++;
        close(c->fd);    /* not used again: a fixed set of connections is part of the measurement */
    }
}

/* The length of the whole answer, 0 when more bytes are needed, -1 when it cannot be told. */
static long answer_length(struct connection *c) {
    c->buffer[c->have] = 0;
    char *end = strstr(c->buffer, "\r\n\r\n");
    if (!end)
        return c->have >= BUFFER - 1 ? -1 : 0;
    char *field = strcasestr(c->buffer, "\r\ncontent-length:");
    if (!field || field > end)
        return -1;
    return (end + 4 - c->buffer) + atol(field + 17);
}

static void receive(int i) {
    struct connection *c = &connections[i];
    ssize_t n = recv(c->fd, c->buffer + c->have, BUFFER - 1 - c->have, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    long length = -1;
    if (n > 0) {
        bytes += n;
        c->have += n;
        length = answer_length(c);
        if (length == 0 || (length > 0 && c->have < (size_t)length && c->have < BUFFER - 1))
            return;
    }
    if (length < 0 || c->have != (size_t)length || !c->due) {
        errors++;
        close(c->fd);
        return;
    }
    if (strncmp(c->buffer, "HTTP/1.1 2", 10))
        non2xx++;
    latency[done++] = (now_ns() - c->due) / 1000;
    c->due = 0;
    give_back(i);
}

static int compare(const void *a, const void *b) {
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

static double percentile(const unsigned *sorted, long long count, double share) {
    if (!count)
        return 0;
    long long i = count * share;
    return sorted[i < count ? i : count - 1] / 1e3;
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: rate HOST PORT PATH RATE SECONDS CONNECTIONS\n");
        return 2;
    }
    double rate = atof(argv[4]), seconds = atof(argv[5]);
    connection_count = atoi(argv[6]);
    long long total = rate * seconds;
    if (connection_count < 1 || connection_count > MAX_CONNECTIONS || total < 1 || total > 100000000) {
        fprintf(stderr, "rate, seconds or connections are out of range\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1);
    request_length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s:%s\r\n\r\n", argv[3], argv[1], argv[2]);
    connections = calloc(connection_count, sizeof *connections);
    latency = calloc(total, sizeof *latency);
    late = calloc(total, sizeof *late);
    if (!connections || !latency || !late || request_length >= sizeof request)
        die("memory");

    int poll = epoll_create1(0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
        die(argv[1]);
    for (int i = 0; i < connection_count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
            die("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e))
            die("epoll");
        connections[i].fd = fd;
        give_back(i);
    }

    long long start = now_ns(), grace = start + (seconds + 10) * 1e9;
    double gap = 1e9 / rate;
    for (;;) {
        long long now = now_ns(), due = start + sent * gap;
        while (sent < total && due <= now && idle_count) {
            send_one(due, now);
            due = start + sent * gap;
        }
        if ((sent == total && done + errors >= total) || errors > 1000 || now > grace)
            break;
        /* With no idle connection only an answer can help; 10 ms, so that the grace time is seen. */
        long long wait = sent < total && idle_count ? due - now : 10000000;
        struct timespec t = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
        struct epoll_event events[EVENTS];
        int n = epoll_pwait2(poll, events, EVENTS, &t, NULL);
        if (n < 0 && errno != EINTR)
            die("epoll_pwait2");
        for (int k = 0; k < n; k++)
            receive(events[k].data.u32);
    }
    double duration = (now_ns() - start) / 1e9;

    qsort(latency, done, sizeof *latency, compare);
    qsort(late, sent, sizeof *late, compare);
    printf("BENCHJSON {\"requests\":%lld,\"duration\":%.6f,\"bytes\":%lld,\"p50_ms\":%.3f,\"p90_ms\":%.3f,"
           "\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f,\"late_p99_ms\":%.3f,\"non2xx\":%lld,"
           "\"errors\":%lld,\"unanswered\":%lld}\n",
           done, duration, bytes, percentile(latency, done, .5), percentile(latency, done, .9),
           percentile(latency, done, .99), percentile(latency, done, .999), percentile(latency, done, 1),
           percentile(late, sent, .99), non2xx, errors, total - done - errors);
    return 0;
}
