package confluent

/*
#include <stdlib.h>
#include "batched_linux.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"
	"unsafe"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/kafka"
)

const (
	// The versions of librdkafka that the batched client is known to work with: from the one whose batches keep the position
	// that a resume goes on from, to before the next that may change its binary interface.
	oldestVersion = 0x020d02ff
	beforeVersion = 0x03000000
	// produceAtOnce is how many records are handed to librdkafka in one call.
	produceAtOnce = 1024
)

// batchedFault says why the librdkafka that is linked cannot serve the batched client; nil if it can, as far as a look at it tells.
func batchedFault() error { return libraryFault(C.trp_missing()) }

// libraryFault says why the librdkafka that is linked cannot serve what needs a function that it lacks, or another version; NULL: it lacks none.
func libraryFault(missing *C.char) error {
	if !tells() {
		return errors.New("this program does not tell what its librdkafka lacks")
	}
	if missing != nil { // perhaps the version's, too
		return faultOf(C.GoString(missing), 0)
	}
	return faultOf("", int(C.rd_kafka_version()))
}

// tells says whether a function that is missing reads as NULL, as it does where weak symbols are linked as ELF has them.
func tells() bool { return C.trp_tells() != 0 }

// held is how many handles of librdkafka the batched clients of this process hold.
func held() int64 { return int64(C.trp_held()) }

func faultOf(missing string, version int) error {
	if missing != "" {
		return fmt.Errorf("the librdkafka of this program has no %s", missing)
	}
	if version < oldestVersion || version >= beforeVersion {
		return fmt.Errorf("the librdkafka of this program has the version %#08x: it must be %#08x or later, and before %#08x", version, oldestVersion, beforeVersion)
	}
	return nil
}

// handleOf returns the handle of librdkafka in a client of confluent-kafka-go, which hides it.
func handleOf(client interface{ String() string }) (*C.rd_kafka_t, error) {
	f := reflect.ValueOf(client).Elem().FieldByName("handle")
	if f.IsValid() && f.Kind() == reflect.Struct {
		f = f.FieldByName("rk")
	}
	if !f.IsValid() || f.Kind() != reflect.Pointer || f.Type().Elem().Name() != "_Ctype_struct_rd_kafka_s" || f.IsNil() {
		return nil, errors.New("this version of the Kafka client keeps its handle of librdkafka elsewhere")
	}
	rk := (*C.rd_kafka_t)(f.UnsafePointer())
	if name := C.GoString(C.rd_kafka_name(rk)); name != client.String() {
		return nil, fmt.Errorf("the handle of librdkafka that was found is that of %q, not of %q", name, client)
	}
	return rk, nil
}

// C lays records out as a batch does: the trial reads some back.
var _ [unsafe.Sizeof(kafka.Record{})]byte = [unsafe.Sizeof(C.trp_record_in{})]byte{}

// batchedIntake implements intake with one queue of librdkafka, to which the queues of partitions are forwarded. All it holds of
// librdkafka is C memory; librdkafka holds nothing of Go's.
type batchedIntake struct {
	rk     *C.rd_kafka_t
	c      *C.trp_intake
	queues map[kafka.TopicPartition]*C.rd_kafka_queue_t
	// young are partitions of which nothing has come since they were taken: librdkafka may still have to end an assignment before,
	// which clears what their queue is forwarded to (rd_kafka_toppar_fetch_stop). Records and ends
	// that come are of the new one, which begins after that; an error may be of the topic.
	young map[kafka.TopicPartition]*C.rd_kafka_queue_t
	runs  []catch
}

func openIntake(c *rdk.Consumer) (intake, error) {
	rk, err := handleOf(c)
	if err != nil {
		return nil, err
	}
	return &batchedIntake{rk: rk, c: C.trp_intake_new(rk, maxGather), queues: map[kafka.TopicPartition]*C.rd_kafka_queue_t{}, young: map[kafka.TopicPartition]*C.rd_kafka_queue_t{}}, nil
}

// take implements intake. What an application has forwarded librdkafka does not forward to the consumer's queue when the partition is
// assigned (rd_kafka_toppar_op_fetch_start). The queue is asked for each time, since the partition may have been made anew meanwhile.
func (in *batchedIntake) take(tp kafka.TopicPartition) error {
	topic := C.CString(tp.Topic)
	defer C.free(unsafe.Pointer(topic))
	q := C.trp_take(in.c, in.rk, topic, C.int32_t(tp.Partition))
	if q == nil {
		return fmt.Errorf("librdkafka has no queue for %s/%d", tp.Topic, tp.Partition)
	}
	if old := in.queues[tp]; old != nil {
		C.trp_drop(old)
	}
	in.queues[tp], in.young[tp] = q, q
	return nil
}

// hold implements intake.
func (in *batchedIntake) hold(tp kafka.TopicPartition) {
	delete(in.young, tp)
	if q := in.queues[tp]; q != nil {
		C.rd_kafka_queue_forward(q, nil)
	}
}

// release implements intake. What waits in the partition's queue is moved behind what waits here (rd_kafka_q_fwd_set).
func (in *batchedIntake) release(tp kafka.TopicPartition) {
	if q := in.queues[tp]; q != nil {
		C.rd_kafka_queue_forward(q, in.c.queue)
		in.young[tp] = q
	}
}

// leave implements intake. The queue is kept: what comes of it still is seen to be late.
func (in *batchedIntake) leave(tp kafka.TopicPartition) { delete(in.young, tp) }

// fetch implements intake.
func (in *batchedIntake) fetch(wait time.Duration, most int) []catch {
	in.runs = in.runs[:0]
	for _, q := range in.young {
		C.rd_kafka_queue_forward(q, in.c.queue)
	}
	if C.trp_fetch(in.c, C.int(max(wait, 0).Milliseconds()), C.int32_t(most)) == 0 {
		return nil
	}
	for _, r := range unsafe.Slice(in.c.runs, in.c.runs_n) {
		c := catch{
			topic:     unsafe.String((*byte)(unsafe.Pointer(r.topic)), int(r.topic_len)),
			partition: int32(r.partition), err: rdk.ErrorCode(r.err), first: int(r.first), n: int(r.n),
		}
		if r.large != 0 {
			c.key, c.value = bytesOf(r.message.key, r.message.key_len), bytesOf(r.message.payload, r.message.len)
		}
		if r.err != 0 {
			c.offset, c.text = int64(r.message.offset), string(bytesOf(r.message.payload, r.message.len))
		}
		if len(in.young) > 0 && (c.err == rdk.ErrNoError || c.err == rdk.ErrPartitionEOF) {
			delete(in.young, kafka.TopicPartition{Topic: c.topic, Partition: c.partition})
		}
		in.runs = append(in.runs, c)
	}
	return in.runs
}

// fill implements intake. A record's bytes are copied for the second time here: C has packed them when it took its message, which is least to read then.
func (in *batchedIntake) fill(c *catch, b *kafka.Batch, next int64, most, bytes int) (repeated int) {
	records := unsafe.Slice((*kafka.Record)(unsafe.Pointer(in.c.records)), in.c.n)[c.first : c.first+c.n]
	arena := unsafe.Slice((*byte)(in.c.arena), in.c.arena_len)
	if c.key != nil || c.value != nil { // a large one, alone
		c.n = 0
		r := &records[0]
		if r.Offset < next {
			return 1
		}
		pos, _, _, headers := r.Layout()
		b.Arena = slices.Grow(b.Arena, r.Size())
		b.Append(r.Offset, r.Timestamp, c.key, c.value, arena[pos:pos+uint32(headers)])
		return 0
	}
	n, size := 0, len(b.Arena)
	for ; n < len(records) && len(b.Records)+n-repeated < most && size < bytes; n++ {
		r := &records[n]
		if r.Offset >= next {
			size += r.Size()
			next = r.Offset + 1
		} else if n > repeated { // it begins anew behind good ones: the next call skips that
			break
		} else {
			repeated++
		}
	}
	b.AppendAll(records[repeated:n], arena)
	c.first, c.n = c.first+n, c.n-n
	return repeated
}

// bytesOf is C memory as a slice; nil if there is none.
func bytesOf(p unsafe.Pointer, n C.size_t) []byte {
	if p == nil {
		return nil
	}
	return unsafe.Slice((*byte)(p), n)
}

// done implements intake.
func (in *batchedIntake) done() { C.trp_done(in.c) }

// close implements intake. A consumer does not close while one of its messages, or a queue that its own are forwarded to, is held.
func (in *batchedIntake) close() {
	for tp, q := range in.queues {
		C.trp_let_go(q)
		delete(in.queues, tp)
	}
	C.trp_intake_free(in.c)
}

// batchedOutlet implements outlet with a loop in C. A bundle's bytes are copied once, by librdkafka.
type batchedOutlet struct {
	rk      *C.rd_kafka_t
	names   []string
	topics  []*C.rd_kafka_topic_t // by the ids of the plan; nil before the first record
	records []C.trp_record        // scratch
}

func openOutlet(p *rdk.Producer, topics []string) (outlet, error) {
	rk, err := handleOf(p)
	if err != nil {
		return nil, err
	}
	if C.trp_errors_only(rk) == 0 {
		return nil, errors.New("librdkafka cannot be told to report failed deliveries only")
	}
	return &batchedOutlet{rk: rk, names: topics, topics: make([]*C.rd_kafka_topic_t, max(len(topics), 1))}, nil
}

// produce implements outlet.
func (out *batchedOutlet) produce(o *kafka.Outputs, from int) (int, error) {
	out.records = out.records[:0]
	for i := from; i < min(o.Len(), from+produceAtOnce); i++ {
		r := &o.Records[i]
		if err := out.open(r.Topic); err != nil {
			return 0, err
		}
		pos, key, value, headers := o.Layout(i)
		out.records = append(out.records, C.trp_record{
			timestamp: C.int64_t(r.Timestamp), pos: C.uint32_t(pos), topic: C.int32_t(r.Topic), partition: C.int32_t(r.Partition),
			key_len: C.int32_t(key), value_len: C.int32_t(value), headers_len: C.int32_t(headers),
		})
	}
	arena := o.Arena
	if len(arena) == 0 {
		arena = []byte{0} // something to point to
	}
	var code C.int
	n := C.trp_produce(out.rk, &out.topics[0], &out.records[0], C.int32_t(len(out.records)), (*C.char)(unsafe.Pointer(&arena[0])), &code)
	if code != 0 {
		return int(n), rdk.NewError(rdk.ErrorCode(code), "", false)
	}
	return int(n), nil
}

// open makes librdkafka's handle of a topic, which producing by its name would look up for each record.
func (out *batchedOutlet) open(id int32) error {
	if out.topics[id] != nil {
		return nil
	}
	name := C.CString(out.names[id])
	defer C.free(unsafe.Pointer(name))
	if out.topics[id] = C.trp_topic(out.rk, name); out.topics[id] == nil {
		return fmt.Errorf("librdkafka makes no handle for topic %q", out.names[id])
	}
	return nil
}

// close implements outlet. A producer does not end while a handle of one of its topics is held.
func (out *batchedOutlet) close() {
	for i, t := range out.topics {
		if t != nil {
			C.trp_topic_free(t)
			out.topics[i] = nil
		}
	}
}
