//go:build linux

// Package rdbatch reads and writes whole batches through the librdkafka handle of a client, with two calls into C for each batch in
// place of four for each message: for the bare loop that says what this client can do at all. It belongs to the benchmark.
package rdbatch

/*
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

// What is used of librdkafka. Weak: it is linked in by the client's package, not by this one.
typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_topic_s rd_kafka_topic_t;
typedef struct rd_kafka_queue_s rd_kafka_queue_t;
typedef struct rd_kafka_topic_conf_s rd_kafka_topic_conf_t;
typedef struct {
	int err;
	rd_kafka_topic_t *rkt;
	int32_t partition;
	void *payload;
	size_t len;
	void *key;
	size_t key_len;
	int64_t offset;
	void *_private;
} rd_kafka_message_t;
#define WEAK __attribute__((weak))
extern rd_kafka_queue_t *rd_kafka_queue_get_consumer(rd_kafka_t *) WEAK;
extern void rd_kafka_queue_destroy(rd_kafka_queue_t *) WEAK;
extern ssize_t rd_kafka_consume_batch_queue(rd_kafka_queue_t *, int, rd_kafka_message_t **, size_t) WEAK;
extern void rd_kafka_message_destroy(rd_kafka_message_t *) WEAK;
extern rd_kafka_topic_t *rd_kafka_topic_new(rd_kafka_t *, const char *, rd_kafka_topic_conf_t *) WEAK;
extern void rd_kafka_topic_destroy(rd_kafka_topic_t *) WEAK;
extern int rd_kafka_produce_batch(rd_kafka_topic_t *, int32_t, int, rd_kafka_message_t *, int) WEAK;

static int linked(void) {
	return rd_kafka_queue_get_consumer && rd_kafka_queue_destroy && rd_kafka_consume_batch_queue && rd_kafka_message_destroy &&
		rd_kafka_topic_new && rd_kafka_topic_destroy && rd_kafka_produce_batch;
}

typedef struct { int64_t offset; int32_t partition, key_len, value_len, err; } meta;
typedef struct { rd_kafka_queue_t *queue; rd_kafka_message_t **at; int most, n; } reader;

static reader *reader_new(rd_kafka_t *rk, int most) {
	reader *r = calloc(1, sizeof(*r));
	r->queue = rd_kafka_queue_get_consumer(rk);
	r->at = calloc(most, sizeof(*r->at));
	r->most = most;
	return r;
}

static void reader_free(reader *r) {
	rd_kafka_queue_destroy(r->queue);
	free(r->at);
	free(r);
}

// reader_fetch waits for messages and says how many there are, and how many bytes of keys and values.
static int reader_fetch(reader *r, int timeout_ms, size_t *bytes) {
	ssize_t n = rd_kafka_consume_batch_queue(r->queue, timeout_ms, r->at, r->most);
	r->n = n < 0 ? 0 : (int)n;
	*bytes = 0;
	for (int i = 0; i < r->n; i++)
		if (!r->at[i]->err) *bytes += r->at[i]->len + r->at[i]->key_len;
	return r->n;
}

// reader_take copies what was fetched and gives it back to librdkafka.
static void reader_take(reader *r, meta *out, char *arena) {
	for (int i = 0; i < r->n; i++) {
		rd_kafka_message_t *m = r->at[i];
		out[i] = (meta){m->offset, m->partition, 0, 0, m->err};
		if (!m->err) {
			out[i].key_len = (int32_t)m->key_len;
			out[i].value_len = (int32_t)m->len;
			memcpy(arena, m->key, m->key_len);
			arena += m->key_len;
			memcpy(arena, m->payload, m->len);
			arena += m->len;
		}
		rd_kafka_message_destroy(m);
	}
	r->n = 0;
}

// produce hands messages over, copied; it says how many were taken, and returns the first error.
static int produce(rd_kafka_topic_t *topic, meta *in, int n, char *arena, int *err) {
	rd_kafka_message_t *m = calloc(n, sizeof(*m));
	for (int i = 0; i < n; i++) {
		m[i].partition = in[i].partition;
		m[i].key = arena;
		m[i].key_len = in[i].key_len;
		arena += in[i].key_len;
		m[i].payload = arena;
		m[i].len = in[i].value_len;
		arena += in[i].value_len;
	}
	int taken = rd_kafka_produce_batch(topic, 0, 0x2 | 0x8, m, n); // RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_PARTITION
	*err = 0;
	for (int i = 0; i < n && taken < n; i++)
		if (m[i].err) { *err = m[i].err; break; }
	free(m);
	return taken;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// Meta is the fixed-size part of one message. Its bytes are in an arena, one message after the other, each the key and then the value.
type Meta struct {
	Offset           int64
	Partition        int32
	KeyLen, ValueLen int32
	Err              int32 // an error in place of a message: kafka.ErrPartitionEOF and others
}

// handle finds the librdkafka handle that a client hides.
func handle(client any) (*C.rd_kafka_t, error) {
	if C.linked() == 0 {
		return nil, errors.New("librdkafka's functions for batches are not linked in")
	}
	f := reflect.ValueOf(client).Elem().FieldByName("handle")
	if f.IsValid() {
		f = f.FieldByName("rk")
	}
	if !f.IsValid() || f.Kind() != reflect.Pointer || f.IsNil() {
		return nil, fmt.Errorf("%T has no librdkafka handle where it was", client)
	}
	return (*C.rd_kafka_t)(f.UnsafePointer()), nil
}

// Reader reads what a consumer is assigned. The consumer must not be polled by anyone else.
type Reader struct {
	r     *C.reader
	metas []Meta
}

// NewReader makes a reader of up to so many messages at a time. Close it before the consumer.
func NewReader(c *kafka.Consumer, most int) (*Reader, error) {
	rk, err := handle(c)
	if err != nil {
		return nil, err
	}
	return &Reader{C.reader_new(rk, C.int(most)), make([]Meta, most)}, nil
}

// Read waits up to so many milliseconds for messages. What it returns holds until the next call; the arena is not used again.
func (r *Reader) Read(timeoutMs int) (metas []Meta, arena []byte) {
	var bytes C.size_t
	n := C.reader_fetch(r.r, C.int(timeoutMs), &bytes)
	if n == 0 {
		return nil, nil
	}
	arena = make([]byte, int(bytes)+1) // never of no length: its address is taken
	C.reader_take(r.r, (*C.meta)(unsafe.Pointer(&r.metas[0])), (*C.char)(unsafe.Pointer(&arena[0])))
	return r.metas[:n], arena
}

// Close lets go of the consumer's queue.
func (r *Reader) Close() { C.reader_free(r.r) }

// Writer writes to one topic.
type Writer struct{ topic *C.rd_kafka_topic_t }

// NewWriter makes a writer. Close it before the producer.
func NewWriter(p *kafka.Producer, topic string) (*Writer, error) {
	rk, err := handle(p)
	if err != nil {
		return nil, err
	}
	name := C.CString(topic)
	defer C.free(unsafe.Pointer(name))
	return &Writer{C.rd_kafka_topic_new(rk, name, nil)}, nil
}

// Write hands messages to the producer. It returns an error unless all were taken.
func (w *Writer) Write(metas []Meta, arena []byte) error {
	if len(metas) == 0 {
		return nil
	}
	var code C.int
	n := C.produce(w.topic, (*C.meta)(unsafe.Pointer(&metas[0])), C.int(len(metas)), (*C.char)(unsafe.Pointer(&arena[0])), &code)
	if int(n) < len(metas) {
		return fmt.Errorf("%d of %d messages were taken: %w", n, len(metas), kafka.NewError(kafka.ErrorCode(code), "produce", false))
	}
	return nil
}

// Close lets go of the topic.
func (w *Writer) Close() { C.rd_kafka_topic_destroy(w.topic) }
