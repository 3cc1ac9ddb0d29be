#include "closings_linux.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct trp_closings {
	_Atomic int64_t n;
};

enum { // of the kernel's binary interface: getsockopt(TCP_INFO), struct tcp_info of linux/tcp.h
	TRP_TCP_INFO = 11,
	DATA_SEGS_OUT_POS = 156,
	TCP_INFO_ENOUGH = 160,
};

const char *trp_closings_missing(void) {
	TRP_NEEDS(rd_kafka_version);
	TRP_NEEDS(rd_kafka_name);
	TRP_NEEDS(rd_kafka_conf);
	TRP_NEEDS(rd_kafka_conf_set_opaque);
	TRP_NEEDS(rd_kafka_conf_set_closesocket_cb);
	TRP_NEEDS(rd_kafka_brokers_add);
	return NULL;
}

// used says whether data was ever sent on a socket: true if the kernel does not tell. A connection that was refused, say by a broker that is
// down, and will be tried again for as long, has sent none.
static int used(int fd) {
	unsigned char info[256];
	socklen_t size = sizeof(info);
	uint32_t sent;
	if (getsockopt(fd, IPPROTO_TCP, TRP_TCP_INFO, info, &size) != 0 || size < TCP_INFO_ENOUGH) return 1;
	memcpy(&sent, info + DATA_SEGS_OUT_POS, sizeof(sent));
	return sent > 0;
}

static int close_counted(int fd, void *opaque) {
	trp_closings *c = opaque;
	if (used(fd)) atomic_fetch_add(&c->n, 1);
	return close(fd);
}

trp_closings *trp_count_closings(rd_kafka_t *rk, const char *brokers) {
	// confluent-kafka-go serves a client's events from a queue, and uses no callback of librdkafka's and so no opaque pointer.
	rd_kafka_conf_t *conf = (rd_kafka_conf_t *)rd_kafka_conf(rk);
	trp_closings *c = calloc(1, sizeof(*c));
	if (!c) abort();
	rd_kafka_conf_set_opaque(conf, c);
	rd_kafka_conf_set_closesocket_cb(conf, close_counted);
	return rd_kafka_brokers_add(rk, brokers) > 0 ? c : NULL; // the client has it, in any case
}

int64_t trp_closed(trp_closings *c) { return atomic_load(&c->n); }

void trp_closings_free(trp_closings *c) { free(c); }
