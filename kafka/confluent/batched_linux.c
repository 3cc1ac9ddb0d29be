#include "batched_linux.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { // of rdkafka.h
	MSG_F_COPY = 0x2,
	VTYPE_END = 0,
	VTYPE_RKT = 2,
	VTYPE_PARTITION = 3,
	VTYPE_VALUE = 4,
	VTYPE_KEY = 5,
	VTYPE_MSGFLAGS = 7,
	VTYPE_TIMESTAMP = 8,
	VTYPE_HEADERS = 10,
	ERR_INVALID_ARG = -186,
};

enum {
	CHUNK = 256,              // messages that are taken from librdkafka before they are packed, while the caches still have them
	LARGE = 4096,             // bytes of a key and value that are not copied twice
	FETCH_MOST = 16 * 1024 * 1024, // bytes that one fetch takes, more or less: those of large records and of headers are among them
	ARENA_KEPT = 8 * 1024 * 1024, // for the next fetch
	PLAIN_LEAST = 4,          // records that are worth a call of rd_kafka_produce_batch
	PLAIN_MOST = 128,
};

int trp_tells(void) { return !trp_nowhere; }

const char *trp_missing(void) {
	TRP_NEEDS(rd_kafka_version);
	TRP_NEEDS(rd_kafka_name);
	TRP_NEEDS(rd_kafka_conf);
	TRP_NEEDS(rd_kafka_conf_set);
	TRP_NEEDS(rd_kafka_conf_get);
	TRP_NEEDS(rd_kafka_topic_new);
	TRP_NEEDS(rd_kafka_topic_name);
	TRP_NEEDS(rd_kafka_topic_destroy);
	TRP_NEEDS(rd_kafka_queue_new);
	TRP_NEEDS(rd_kafka_queue_get_partition);
	TRP_NEEDS(rd_kafka_queue_forward);
	TRP_NEEDS(rd_kafka_queue_destroy);
	TRP_NEEDS(rd_kafka_consume_batch_queue);
	TRP_NEEDS(rd_kafka_message_destroy);
	TRP_NEEDS(rd_kafka_message_timestamp);
	TRP_NEEDS(rd_kafka_message_leader_epoch);
	TRP_NEEDS(rd_kafka_message_headers);
	TRP_NEEDS(rd_kafka_header_get_all);
	TRP_NEEDS(rd_kafka_headers_new);
	TRP_NEEDS(rd_kafka_header_add);
	TRP_NEEDS(rd_kafka_headers_destroy);
	TRP_NEEDS(rd_kafka_producev);
	TRP_NEEDS(rd_kafka_produce_batch);
	return NULL;
}

// The Go client refuses delivery.report.only.error, for the sake of state that it keeps for each record; none is kept here. librdkafka
// reads the setting whenever it reports (rd_kafka_dr_msgq0), and nothing has been produced yet.
int trp_errors_only(rd_kafka_t *rk) {
	static const char *name = "delivery.report.only.error";
	char now[8] = "", why[128];
	size_t size = sizeof(now);
	if (rd_kafka_conf_set((rd_kafka_conf_t *)rd_kafka_conf(rk), name, "true", why, sizeof(why)) != 0) return 0;
	return rd_kafka_conf_get(rd_kafka_conf(rk), name, now, &size) == 0 && strcmp(now, "true") == 0;
}

// must ends the process when there is no memory, as Go and librdkafka do.
static void *must(void *p) {
	if (!p) abort();
	return p;
}

static _Atomic int64_t held;

int64_t trp_held(void) { return atomic_load(&held); }

static void *hold(void *handle) {
	if (handle) atomic_fetch_add(&held, 1);
	return handle;
}

rd_kafka_topic_t *trp_topic(rd_kafka_t *rk, const char *name) { return hold(rd_kafka_topic_new(rk, name, NULL)); }

void trp_topic_free(rd_kafka_topic_t *topic) {
	rd_kafka_topic_destroy(topic);
	atomic_fetch_sub(&held, 1);
}

trp_intake *trp_intake_new(rd_kafka_t *rk, int32_t max) {
	trp_intake *in = must(calloc(1, sizeof(*in)));
	in->max = max;
	in->messages = must(calloc(CHUNK, sizeof(*in->messages)));
	in->records = must(calloc(max, sizeof(*in->records)));
	in->runs = must(calloc(max, sizeof(*in->runs)));
	in->queue = hold(rd_kafka_queue_new(rk));
	return in;
}

void trp_intake_free(trp_intake *in) {
	trp_done(in);
	trp_drop(in->queue);
	free(in->messages);
	free(in->records);
	free(in->runs);
	free(in->arena);
	free(in);
}

rd_kafka_queue_t *trp_take(trp_intake *in, rd_kafka_t *rk, const char *topic, int32_t partition) {
	rd_kafka_queue_t *q = hold(rd_kafka_queue_get_partition(rk, topic, partition));
	if (q) rd_kafka_queue_forward(q, in->queue);
	return q;
}

void trp_let_go(rd_kafka_queue_t *partition) {
	rd_kafka_queue_forward(partition, NULL);
	trp_drop(partition);
}

void trp_drop(rd_kafka_queue_t *partition) {
	rd_kafka_queue_destroy(partition);
	atomic_fetch_sub(&held, 1);
}

static uint8_t *put_varint(uint8_t *p, uint64_t n) {
	for (; n >= 0x80; n >>= 7) *p++ = (uint8_t)n | 0x80;
	*p++ = (uint8_t)n;
	return p;
}

// room makes room for so many more bytes in the arena and returns where they go.
static uint8_t *room(trp_intake *in, size_t more) {
	size_t need = in->arena_len + more;
	if (need > UINT32_MAX) abort(); // where records are is told in 32 bits, and FETCH_MOST is much less
	if (need > in->arena_cap) {
		in->arena_cap = need + need / 2 + 4096;
		in->arena = must(realloc(in->arena, in->arena_cap));
	}
	return in->arena + in->arena_len;
}

// bears says whether a message may have headers: rd_kafka_message_headers makes a buffer, and frees it again, to find that there are none. In Kafka's
// second format of records the number of headers follows the value, and librdkafka leaves both where they have come; that it does is seen in the trial.
// An empty value is elsewhere. Older formats know no headers, and the last message may end where its memory does. They have no leader epoch, but for those
// behind newer ones in one answer, which get theirs; and the four bytes before the value say how long it is, where the second format has one to five with
// seven bits in each. Of that format at least six bytes come before a value.
static int bears(const rd_kafka_message_t *m) {
	const uint8_t *value = m->payload;
	if (!value || !m->len || rd_kafka_message_leader_epoch(m) < 0) return 1;
	uint32_t before;
	memcpy(&before, value - sizeof(before), sizeof(before));
	return ntohl(before) == m->len || value[m->len] != 0;
}

// put_headers appends the headers of a message to the arena and returns how many bytes that took.
static int32_t put_headers(trp_intake *in, const rd_kafka_message_t *m) {
	rd_kafka_headers_t *headers; // the message's own
	const char *name;
	const void *value;
	size_t size, begin = in->arena_len;
	if (!bears(m) || rd_kafka_message_headers(m, &headers) != 0) return 0;
	for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) == 0; i++) {
		size_t name_len = strlen(name);
		uint8_t *p = put_varint(room(in, name_len + (value ? size : 0) + 20), name_len);
		memcpy(p, name, name_len);
		p = put_varint(p + name_len, value ? size + 1 : 0);
		if (value && size) {
			memcpy(p, value, size);
			p += size;
		}
		in->arena_len = p - in->arena;
	}
	return (int32_t)(in->arena_len - begin);
}

// pack moves a record into the arena; of a large one the headers only.
static void pack(trp_intake *in, trp_record_in *x, const rd_kafka_message_t *m, int large) {
	int type;
	x->offset = m->offset;
	x->timestamp = rd_kafka_message_timestamp(m, &type);
	if (type == 0) x->timestamp = -1;
	x->pos = (uint32_t)in->arena_len;
	x->key_len = m->key ? (int32_t)m->key_len : -1;
	x->value_len = m->payload ? (int32_t)m->len : -1;
	if (!large) {
		uint8_t *p = room(in, m->key_len + m->len);
		if (m->key) memcpy(p, m->key, m->key_len);
		if (m->key) p += m->key_len;
		if (m->payload) memcpy(p, m->payload, m->len);
		if (m->payload) p += m->len;
		in->arena_len = p - in->arena;
	}
	if (large) in->large_len += m->key_len + m->len;
	x->headers_len = put_headers(in, m);
}

// take adds messages to what was fetched. They are freed, but for the first of each run.
static void take(trp_intake *in, int32_t n) {
	trp_run *run = in->runs_n ? &in->runs[in->runs_n - 1] : NULL;
	for (int32_t i = 0; i < n; i++) {
		rd_kafka_message_t *m = in->messages[i];
		int large = !m->err && m->key_len + m->len > LARGE;
		int begins = !run || run->err || run->large || large || m->err || m->partition != run->partition || m->rkt != run->message->rkt;
		if (begins) {
			run = &in->runs[in->runs_n++];
			*run = (trp_run){.message = m, .partition = m->partition, .first = in->n, .err = m->err, .large = large};
			run->topic = m->rkt ? rd_kafka_topic_name(m->rkt) : "";
			run->topic_len = strlen(run->topic);
		}
		run->n++;
		if (!m->err) pack(in, &in->records[in->n], m, large);
		in->n++;
		if (!begins) rd_kafka_message_destroy(m);
	}
}

// rd_kafka_consume_batch_queue returns only when it has as many messages as were asked for or its time is over: so the first one is
// waited for alone. It drops what was fetched before a pause or for an older assignment, and moves the position that a resume goes on from.
int32_t trp_fetch(trp_intake *in, int timeout_ms, int32_t max) {
	if (max > in->max) max = in->max;
	in->n = in->runs_n = 0;
	in->arena_len = in->large_len = 0;
	for (int32_t most = 1; in->n < max;) {
		ssize_t n = rd_kafka_consume_batch_queue(in->queue, in->n ? 0 : timeout_ms, in->messages, most);
		if (n <= 0) break;
		take(in, (int32_t)n);
		size_t bytes = in->arena_len + in->large_len;
		if (n < most || bytes >= FETCH_MOST) break;
		most = max - in->n < CHUNK ? max - in->n : CHUNK;
		int32_t fit = (FETCH_MOST - bytes) / (bytes / in->n + 1) + 1; // if they are as large as those before
		if (fit < most) most = fit;
	}
	return in->n;
}

void trp_done(trp_intake *in) {
	for (int32_t i = 0; i < in->runs_n; i++) rd_kafka_message_destroy(in->runs[i].message);
	in->n = in->runs_n = 0;
#ifdef TRP_POISON // nobody may look at it any more
	if (in->arena) memset(in->arena, 0xdb, in->arena_cap);
	memset(in->records, 0xdb, in->max * sizeof(*in->records));
#endif
	if (in->arena_cap > ARENA_KEPT) { // of a few large ones
		free(in->arena);
		in->arena = NULL;
		in->arena_cap = 0;
	}
}

// get_varint reads a number; NULL behind the end.
static const uint8_t *get_varint(const uint8_t *p, const uint8_t *end, uint64_t *n) {
	*n = 0;
	for (int shift = 0; p && p < end && shift < 64; shift += 7) {
		*n |= (uint64_t)(*p & 0x7f) << shift;
		if (!(*p++ & 0x80)) return p;
	}
	return NULL;
}

// headers_of decodes what kafka.AppendHeaders has encoded; NULL if it is nothing of the kind.
static rd_kafka_headers_t *headers_of(const uint8_t *p, size_t len) {
	const uint8_t *end = p + len;
	rd_kafka_headers_t *headers = rd_kafka_headers_new(4);
	while (p < end) {
		uint64_t name_len, size;
		const uint8_t *name = get_varint(p, end, &name_len);
		if (!name || name_len > (uint64_t)(end - name)) goto broken;
		const uint8_t *value = get_varint(name + name_len, end, &size);
		if (!value || (size && size - 1 > (uint64_t)(end - value))) goto broken;
		if (rd_kafka_header_add(headers, (const char *)name, (ssize_t)name_len, size ? value : NULL, size ? (ssize_t)(size - 1) : 0) != 0) goto broken;
		p = value + (size ? size - 1 : 0);
	}
	return headers;
broken:
	rd_kafka_headers_destroy(headers);
	return NULL;
}

// plain counts the records of one partition, from the first on, that rd_kafka_produce_batch can be given: it knows neither headers nor
// timestamps, and goes on behind a record that is too large for the client, which none of these is: the client takes records of a thousand times that.
static int32_t plain(const trp_record *r, int32_t n) {
	int32_t i = 0;
	for (; i < n && i < PLAIN_MOST; i++)
		if (r[i].headers_len || r[i].timestamp || r[i].topic != r->topic || r[i].partition != r->partition || r[i].key_len > 1 << 19 || r[i].value_len > 1 << 19) break;
	return i;
}

// produce_plain hands such records over: it looks up their partition and the time once, not for each. When the queue is full, all that follow are refused, too.
static int32_t produce_plain(rd_kafka_topic_t *topic, const trp_record *records, int32_t n, const char *arena, int *err) {
	rd_kafka_message_t m[PLAIN_MOST];
	memset(m, 0, n * sizeof(*m));
	for (int32_t i = 0; i < n; i++) {
		const trp_record *r = &records[i];
		m[i].key_len = r->key_len > 0 ? r->key_len : 0;
		m[i].len = r->value_len > 0 ? r->value_len : 0;
		if (r->key_len >= 0) m[i].key = (char *)arena + r->pos;
		if (r->value_len >= 0) m[i].payload = (char *)arena + r->pos + m[i].key_len;
	}
	int32_t taken = rd_kafka_produce_batch(topic, records->partition, MSG_F_COPY, m, n);
	for (int32_t i = 0; i < n && taken < n; i++)
		if (m[i].err) {
			*err = m[i].err;
			return i;
		}
	return taken;
}

// Records of one partition must stay in order, so the first that is refused ends it. With MSG_F_COPY the bytes are copied before
// librdkafka returns; headers are its own unless it fails.
int32_t trp_produce(rd_kafka_t *rk, rd_kafka_topic_t **topics, const trp_record *records, int32_t n, const char *arena, int *err) {
	*err = 0;
	for (int32_t i = 0; i < n;) {
		const trp_record *r = &records[i];
		int32_t many = plain(r, n - i);
		if (many >= PLAIN_LEAST) {
			i += produce_plain(topics[r->topic], r, many, arena, err);
			if (*err) return i;
			continue;
		}
		size_t key_len = r->key_len > 0 ? r->key_len : 0, value_len = r->value_len > 0 ? r->value_len : 0;
		const char *key = arena + r->pos, *value = key + key_len;
		if (r->headers_len == 0) {
			*err = rd_kafka_producev(rk, VTYPE_RKT, topics[r->topic], VTYPE_PARTITION, r->partition, VTYPE_MSGFLAGS, MSG_F_COPY,
				VTYPE_VALUE, r->value_len < 0 ? NULL : value, value_len, VTYPE_KEY, r->key_len < 0 ? NULL : key, key_len,
				VTYPE_TIMESTAMP, r->timestamp, VTYPE_END);
		} else {
			rd_kafka_headers_t *headers = headers_of((const uint8_t *)value + value_len, r->headers_len);
			if (!headers) {
				*err = ERR_INVALID_ARG;
				return i;
			}
			*err = rd_kafka_producev(rk, VTYPE_RKT, topics[r->topic], VTYPE_PARTITION, r->partition, VTYPE_MSGFLAGS, MSG_F_COPY,
				VTYPE_VALUE, r->value_len < 0 ? NULL : value, value_len, VTYPE_KEY, r->key_len < 0 ? NULL : key, key_len,
				VTYPE_TIMESTAMP, r->timestamp, VTYPE_HEADERS, headers, VTYPE_END);
			if (*err) rd_kafka_headers_destroy(headers);
		}
		if (*err) return i;
		i++;
	}
	return n;
}
