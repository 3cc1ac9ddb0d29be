package confluent

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

// figuresEvery is how often librdkafka is asked for its figures, in milliseconds.
const figuresEvery = 10_000

// figures keeps the last figures of each client.
type figures struct {
	mu  sync.Mutex
	all map[string]kafka.ClientFigures
}

// Figures returns what the clients that are open said last, by their names. It may be called from any goroutine.
func (d *Driver) Figures() []kafka.ClientFigures {
	d.figures.mu.Lock()
	defer d.figures.mu.Unlock()
	var all []kafka.ClientFigures
	for _, f := range d.figures.all {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b kafka.ClientFigures) int { return cmp.Compare(a.Client, b.Client) })
	return all
}

func (x *figures) forget(client string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.all, client)
}

// take reads a report of librdkafka's: STATISTICS.md of librdkafka says what is in it.
func (x *figures) take(log *slog.Logger, report string) {
	var r struct {
		Name    string
		Type    string
		Msgs    int64 `json:"msg_cnt"`
		Size    int64 `json:"msg_size"`
		Tx      int64 `json:"tx"`
		TxBytes int64 `json:"tx_bytes"`
		RxBytes int64 `json:"rx_bytes"`
		TxMsgs  int64 `json:"txmsgs"`
		RxMsgs  int64 `json:"rxmsgs"`
		Brokers map[string]struct {
			NodeName    string `json:"nodename"`
			NodeID      int64  `json:"nodeid"`
			State       string
			Connects    int64
			Disconnects int64
			TxErrs      int64               `json:"txerrs"`
			RxErrs      int64               `json:"rxerrs"`
			TxRetries   int64               `json:"txretries"`
			Timeouts    int64               `json:"req_timeouts"`
			RTT         struct{ P99 int64 } `json:"rtt"`      // microseconds
			Throttle    struct{ Max int64 } `json:"throttle"` // milliseconds
		}
		Topics map[string]struct {
			Partitions map[string]struct {
				Count int64 `json:"fetchq_cnt"`
				Size  int64 `json:"fetchq_size"`
			}
		}
	}
	if err := json.Unmarshal([]byte(report), &r); err != nil {
		log.Debug("figures of librdkafka not read", "error", err)
		return
	}
	f := kafka.ClientFigures{
		Client: stripped(r.Name), Role: r.Type, Queued: r.Msgs, QueuedBytes: r.Size, RecordsOut: r.TxMsgs, RecordsIn: r.RxMsgs,
		BytesOut: r.TxBytes, BytesIn: r.RxBytes, Requests: r.Tx,
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			f.Fetched, f.FetchedBytes = f.Fetched+p.Count, f.FetchedBytes+p.Size
		}
	}
	for _, b := range r.Brokers {
		if b.NodeID < 0 { // not a broker: its address to begin with, or the role of a coordinator
			continue
		}
		f.Brokers = append(f.Brokers, kafka.BrokerFigures{
			Name: b.NodeName, Up: b.State == "UP", Connects: b.Connects, Disconnects: b.Disconnects, Errors: b.TxErrs + b.RxErrs,
			Retries: b.TxRetries, Late: b.Timeouts, RTT99: time.Duration(b.RTT.P99) * time.Microsecond, Throttle: time.Duration(b.Throttle.Max) * time.Millisecond,
		})
	}
	slices.SortFunc(f.Brokers, func(a, b kafka.BrokerFigures) int { return cmp.Compare(a.Name, b.Name) })
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.all == nil {
		x.all = map[string]kafka.ClientFigures{}
	}
	x.all[r.Name] = f
}

// stripped is a client's name without the address that its node advertises.
func stripped(name string) string {
	id, rest, ok := strings.Cut(name, "@http")
	if !ok {
		return name
	}
	return id + rest[max(strings.LastIndexByte(rest, '#'), 0):]
}
