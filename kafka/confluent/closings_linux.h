// How many connections of a client of librdkafka were closed after something was sent on them. See batched_linux.h for the weak symbols.
#ifndef TROUPE_CLOSINGS_H
#define TROUPE_CLOSINGS_H

#include "batched_linux.h"

TRP_WEAK void rd_kafka_conf_set_opaque(rd_kafka_conf_t *conf, void *opaque);
TRP_WEAK void rd_kafka_conf_set_closesocket_cb(rd_kafka_conf_t *conf, int (*closesocket_cb)(int sockfd, void *opaque));
TRP_WEAK int rd_kafka_brokers_add(rd_kafka_t *rk, const char *brokerlist);

// trp_closings is the count for one client.
typedef struct trp_closings trp_closings;

// trp_closings_missing names a function that the linked librdkafka lacks; NULL if there is none.
const char *trp_closings_missing(void);

// trp_count_closings counts from now on the connections that a client closes. The client must have been made without brokers, and is given
// them here: it has no connection, and no thread of a broker, before. NULL if it takes none of the brokers.
trp_closings *trp_count_closings(rd_kafka_t *rk, const char *brokers);

// trp_closed is the count; any thread may ask. What was sent again over a new connection was sent after the old one was counted.
int64_t trp_closed(trp_closings *c);

// trp_closings_free comes after the client is destroyed.
void trp_closings_free(trp_closings *c);

#endif
