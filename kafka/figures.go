package kafka

import "time"

// ClientFigures are what librdkafka says of one of its clients, as of the last ten seconds.
type ClientFigures struct {
	Client string // its name in librdkafka
	Role   string // consumer or producer

	Queued, QueuedBytes   int64 // records that wait for the broker's acknowledgement
	Fetched, FetchedBytes int64 // records that wait to be polled
	RecordsOut, RecordsIn int64 // since it was opened
	BytesOut, BytesIn     int64
	Requests              int64
	Brokers               []BrokerFigures
}

// BrokerFigures are what a client says of one broker.
type BrokerFigures struct {
	Name                                         string // host:port
	Up                                           bool
	Connects, Disconnects, Errors, Retries, Late int64
	RTT99, Throttle                              time.Duration // of the last interval
}
