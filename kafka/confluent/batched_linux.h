// What the batched client asks of librdkafka: its functions, declared here as weak symbols, and what is made of them. The library is
// the one that confluent-kafka-go links; a function that it lacks reads as NULL, which trp_missing finds before anything is called.
// Structs and constants below are of librdkafka's public header (rdkafka.h), whose binary interface is stable within a major version.
#ifndef TROUPE_BATCHED_H
#define TROUPE_BATCHED_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TRP_WEAK __attribute__((weak))

// TRP_NEEDS returns the name of a function that the linked librdkafka lacks.
#define TRP_NEEDS(f) \
	if (!f) return #f

typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_topic_s rd_kafka_topic_t;
typedef struct rd_kafka_queue_s rd_kafka_queue_t;
typedef struct rd_kafka_headers_s rd_kafka_headers_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;
typedef struct rd_kafka_topic_conf_s rd_kafka_topic_conf_t;

typedef struct rd_kafka_message_s {
	int err; // 0 for a record; else payload is a text about it
	rd_kafka_topic_t *rkt;
	int32_t partition;
	void *payload; // NULL: null
	size_t len;
	void *key; // NULL: null
	size_t key_len;
	int64_t offset;
	void *_private;
} rd_kafka_message_t;

TRP_WEAK int trp_nowhere(void); // there is none
TRP_WEAK int rd_kafka_version(void);
TRP_WEAK const char *rd_kafka_name(const rd_kafka_t *rk);
TRP_WEAK const rd_kafka_conf_t *rd_kafka_conf(rd_kafka_t *rk);
TRP_WEAK int rd_kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, char *errstr, size_t errstr_size);
TRP_WEAK int rd_kafka_conf_get(const rd_kafka_conf_t *conf, const char *name, char *dest, size_t *dest_size);
TRP_WEAK rd_kafka_topic_t *rd_kafka_topic_new(rd_kafka_t *rk, const char *topic, rd_kafka_topic_conf_t *conf);
TRP_WEAK const char *rd_kafka_topic_name(const rd_kafka_topic_t *rkt);
TRP_WEAK void rd_kafka_topic_destroy(rd_kafka_topic_t *rkt);
TRP_WEAK rd_kafka_queue_t *rd_kafka_queue_new(rd_kafka_t *rk);
TRP_WEAK rd_kafka_queue_t *rd_kafka_queue_get_partition(rd_kafka_t *rk, const char *topic, int32_t partition);
TRP_WEAK void rd_kafka_queue_forward(rd_kafka_queue_t *src, rd_kafka_queue_t *dst);
TRP_WEAK void rd_kafka_queue_destroy(rd_kafka_queue_t *rkqu);
TRP_WEAK ssize_t rd_kafka_consume_batch_queue(rd_kafka_queue_t *rkqu, int timeout_ms, rd_kafka_message_t **rkmessages, size_t size);
TRP_WEAK void rd_kafka_message_destroy(rd_kafka_message_t *rkmessage);
TRP_WEAK int64_t rd_kafka_message_timestamp(const rd_kafka_message_t *rkmessage, int *tstype);
TRP_WEAK int32_t rd_kafka_message_leader_epoch(const rd_kafka_message_t *rkmessage);
TRP_WEAK int rd_kafka_message_headers(const rd_kafka_message_t *rkmessage, rd_kafka_headers_t **hdrsp);
TRP_WEAK int rd_kafka_header_get_all(const rd_kafka_headers_t *hdrs, size_t idx, const char **namep, const void **valuep, size_t *sizep);
TRP_WEAK rd_kafka_headers_t *rd_kafka_headers_new(size_t initial_count);
TRP_WEAK int rd_kafka_header_add(rd_kafka_headers_t *hdrs, const char *name, ssize_t name_size, const void *value, ssize_t value_size);
TRP_WEAK void rd_kafka_headers_destroy(rd_kafka_headers_t *hdrs);
TRP_WEAK int rd_kafka_producev(rd_kafka_t *rk, ...);
TRP_WEAK int rd_kafka_produce_batch(rd_kafka_topic_t *rkt, int32_t partition, int msgflags, rd_kafka_message_t *rkmessages, int message_cnt);

// trp_tells says whether a function that is missing reads as NULL.
int trp_tells(void);

// trp_missing names a function that the linked librdkafka lacks; NULL if there is none.
const char *trp_missing(void);

// trp_errors_only has a producer report only deliveries that failed, and says whether it now does.
int trp_errors_only(rd_kafka_t *rk);

// trp_held is how many handles of librdkafka the batched clients of this process hold: of queues and of topics. Each one is to be given
// back before its client is closed.
int64_t trp_held(void);

rd_kafka_topic_t *trp_topic(rd_kafka_t *rk, const char *name); // NULL if librdkafka makes none
void trp_topic_free(rd_kafka_topic_t *topic);

// trp_record_in is a record whose bytes are in the fetch's arena: key, value and headers follow each other from pos on, and those of a run's
// records, too. It is laid out as kafka.Record.
typedef struct {
	int64_t offset;
	int64_t timestamp; // in ms; -1: none
	uint32_t pos;
	int32_t key_len, value_len; // -1: null
	int32_t headers_len;        // as kafka.AppendHeaders encodes them
} trp_record_in;

// trp_run is some records of one topic-partition that follow each other in a fetch, or one error of it.
typedef struct {
	rd_kafka_message_t *message; // the first one, kept until trp_done: for an error's text, a large record's bytes, and the topic's name
	const char *topic;           // librdkafka's, as long as the message is
	size_t topic_len;
	int32_t partition;
	int32_t first, n; // of the records of the fetch
	int32_t err;
	int32_t large; // of the one record, only the headers are in the arena
} trp_run;

// trp_intake is a queue for the records of many partitions, with what one fetch has brought.
typedef struct {
	rd_kafka_queue_t *queue;
	int32_t max, n, runs_n;
	rd_kafka_message_t **messages; // scratch
	trp_record_in *records;        // max of each
	trp_run *runs;
	uint8_t *arena;
	size_t arena_len, arena_cap;
	size_t large_len; // bytes of keys and values that are not in the arena
} trp_intake;

trp_intake *trp_intake_new(rd_kafka_t *rk, int32_t max);
void trp_intake_free(trp_intake *in);

// trp_take has the records of a partition go to the intake. It returns the partition's queue, which is to be let go of; NULL if it has none.
rd_kafka_queue_t *trp_take(trp_intake *in, rd_kafka_t *rk, const char *topic, int32_t partition);
void trp_let_go(rd_kafka_queue_t *partition);

// trp_drop is trp_let_go for a handle of a queue that another handle is held of: where it is forwarded to stays.
void trp_drop(rd_kafka_queue_t *partition);

// trp_fetch waits for the first message, takes as many others as are there, and returns how many there are. They stay until trp_done.
int32_t trp_fetch(trp_intake *in, int timeout_ms, int32_t max);
void trp_done(trp_intake *in);

// trp_record is a record to be produced: key, value and headers follow each other in the arena from pos on.
typedef struct {
	int64_t timestamp; // in ms; 0: now
	uint32_t pos;
	int32_t topic, partition;
	int32_t key_len, value_len; // -1: null
	int32_t headers_len;        // as kafka.AppendHeaders encodes them
} trp_record;

// trp_produce hands records to the producer, in order, until one is refused. It returns how many were taken; *err says why no more.
int32_t trp_produce(rd_kafka_t *rk, rd_kafka_topic_t **topics, const trp_record *records, int32_t n, const char *arena, int *err);

#endif
