package confluent

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
)

// What librdkafka reports, abridged.
const report = `{"name":"troupe-ab@http://127.0.0.1:6066#consumer-4","client_id":"x","type":"consumer","msg_cnt":3,"msg_size":99,"tx":7,"rx":6,
"tx_bytes":700,"rx_bytes":800,"txmsgs":5,"rxmsgs":4,
"brokers":{"GroupCoordinator":{"name":"GroupCoordinator","nodeid":-1,"nodename":"127.0.0.1:9092","state":"UP"},
"127.0.0.1:9092/1":{"name":"127.0.0.1:9092/1","nodeid":1,"nodename":"127.0.0.1:9092","state":"UP","connects":2,"disconnects":1,"txerrs":1,"rxerrs":2,
"txretries":4,"req_timeouts":5,"rtt":{"p99":2500,"avg":1},"throttle":{"max":30}}},
"topics":{"a":{"topic":"a","partitions":{"0":{"fetchq_cnt":10,"fetchq_size":1000},"1":{"fetchq_cnt":1,"fetchq_size":100},"-1":{"fetchq_cnt":0,"fetchq_size":0}}}}}`

func TestFigures(t *testing.T) {
	t.Parallel()
	var d Driver
	log := slog.New(slog.DiscardHandler)
	d.figures.take(log, "not JSON")
	require.Empty(t, d.Figures())
	d.figures.take(log, report)
	require.Equal(t, []kafka.ClientFigures{{
		Client: "troupe-ab#consumer-4", Role: "consumer", Queued: 3, QueuedBytes: 99, Fetched: 11, FetchedBytes: 1100,
		RecordsOut: 5, RecordsIn: 4, BytesOut: 700, BytesIn: 800, Requests: 7,
		Brokers: []kafka.BrokerFigures{{
			Name: "127.0.0.1:9092", Up: true, Connects: 2, Disconnects: 1, Errors: 3, Retries: 4, Late: 5, RTT99: 2500 * time.Microsecond, Throttle: 30 * time.Millisecond,
		}},
	}}, d.Figures())
	d.figures.forget("troupe-ab@http://127.0.0.1:6066#consumer-4")
	require.Empty(t, d.Figures())
}
