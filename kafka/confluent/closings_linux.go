package confluent

/*
#include <stdlib.h>
#include "closings_linux.h"
*/
import "C"

import (
	"errors"
	"sync"
	"unsafe"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// closings counts the connections that a producer has closed after it had sent something on them.
type closings struct{ c *C.trp_closings }

// closingsFault says why closings cannot be counted; nil if they can. Where the trial has found a producer's handle, it need not be looked for.
func closingsFault(found bool) error {
	if err := libraryFault(C.trp_closings_missing()); err != nil || found {
		return err
	}
	return handleFault()
}

// handleFault says why a producer's handle is not found; nil if it is. It looks once in a process, with a producer that is closed again.
var handleFault = sync.OnceValue(func() error {
	p, err := rdk.NewProducer(&rdk.ConfigMap{"log_level": 0})
	if err != nil {
		return err
	}
	defer closesInTime(p.Close)
	_, err = handleOf(p)
	return err
})

// countClosings gives a producer that was made without brokers its brokers, and counts from then on.
func countClosings(p *rdk.Producer, brokers string) (*closings, error) {
	rk, err := handleOf(p)
	if err != nil {
		return nil, err
	}
	list := C.CString(brokers)
	defer C.free(unsafe.Pointer(list))
	c := C.trp_count_closings(rk, list)
	if c == nil {
		return nil, errors.New("librdkafka takes none of the brokers")
	}
	return &closings{c}, nil
}

// closed returns the count. It may be called from any goroutine until free.
func (c *closings) closed() int64 { return int64(C.trp_closed(c.c)) }

// free comes after the producer has ended; one that hangs keeps its count.
func (c *closings) free() { C.trp_closings_free(c.c) }
