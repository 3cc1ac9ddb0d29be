package confluent

import (
	"sync"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// acquaintTimeout bounds a question after topics; also how long the client's end may wait for the answer.
const acquaintTimeout = time.Second

// acquaintance has a consumer ask at once for topics that were assigned to it and that it has not seen before. librdkafka looks once a
// second only which of its topics it knows nothing of, and reads nothing of them until then.
type acquaintance struct {
	consumer *rdk.Consumer
	known    map[string]bool
	asking   sync.WaitGroup

	mu    sync.Mutex
	busy  bool // a question is under way
	again bool // more topics have come since it began
}

func newAcquaintance(c *rdk.Consumer) *acquaintance {
	return &acquaintance{consumer: c, known: map[string]bool{}}
}

// with is called after partitions were assigned, by one goroutine at a time, and does not block. Whether the answer comes does not matter:
// librdkafka asks itself, only later.
func (a *acquaintance) with(tps []rdk.TopicPartition) {
	news := false
	for _, tp := range tps {
		if !a.known[*tp.Topic] {
			a.known[*tp.Topic], news = true, true
		}
	}
	if !news {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.again = true
	if !a.busy {
		a.busy = true
		a.asking.Go(a.ask)
	}
}

// ask asks for all topics that the consumer has, as long as there are new ones: many may come one after the other.
func (a *acquaintance) ask() {
	for {
		a.mu.Lock()
		a.busy, a.again = a.again, false
		busy := a.busy
		a.mu.Unlock()
		if !busy {
			return
		}
		_, _ = a.consumer.GetMetadata(nil, false, int(acquaintTimeout.Milliseconds()))
	}
}

// end waits until nothing is asked any more. It is called before the consumer is closed, and nothing may be assigned any more.
func (a *acquaintance) end() {
	a.mu.Lock()
	a.again = false
	a.mu.Unlock()
	a.asking.Wait()
}
