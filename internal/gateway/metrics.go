package gateway

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/troupe-stream/troupe/internal/cmem"
	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
)

// collector makes metrics of what nodes have counted and of what they are about, when it is asked.
type collector struct{ g *Gateway }

// registry holds all that /metrics shows.
func (g *Gateway) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collector{g})
	return r
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("troupe_"+name, help, append([]string{"topology"}, labels...), nil)
}

var (
	ofAgent     = []string{"agent", "role"}
	ofPartition = []string{"stage", "partition"}
	ofShard     = []string{"table", "partition"}

	buildInfo    = prometheus.NewDesc("troupe_build_info", "1, with the version and the identity of the node.", []string{"version", "instance"}, nil)
	nativeUsed   = prometheus.NewDesc("troupe_native_memory_used_bytes", "Bytes of C's heap that are in use, of which a node has librdkafka's only. Absent where the C library does not tell.", nil, nil)
	nativeKept   = prometheus.NewDesc("troupe_native_memory_free_bytes", "Bytes of C's heap that are free and kept for later. Absent where the C library does not tell.", nil, nil)
	nativeArenas = prometheus.NewDesc("troupe_native_memory_arenas", "Arenas of C's heap. Absent where the C library does not tell.", nil, nil)
	nodeReady    = desc("node_ready", "1 if the node has its partitions, and their tables.")
	hooksDropped = desc("hook_events_dropped_total", "Events that hooks were not told of, since one was too slow.")

	agentIn       = desc("agent_records_in_total", "Records that an agent is through with, or turns of a timer or task; those that failed are not among them, and what was undone and done again counts again.", ofAgent...)
	agentOut      = desc("agent_records_out_total", "Records that an agent sent; what was undone and sent again counts again.", ofAgent...)
	agentDropped  = desc("agent_records_dropped_total", "Records that operators left out because they have no key or value, as joins, aggregations and tables of topics do.", ofAgent...)
	agentFailed   = desc("agent_failures_total", "Failures of an agent, all attempts counted.", ofAgent...)
	agentRetried  = desc("agent_retries_total", "Failures after which the record is tried again.", ofAgent...)
	agentSkipped  = desc("agent_records_skipped_total", "Records that were given up and skipped.", ofAgent...)
	agentLetters  = desc("agent_dead_letters_total", "Records that were given up and went to the dead letters.", ofAgent...)
	agentRestarts = desc("agent_restarts_total", "Restarts of an agent with fresh state.", ofAgent...)
	agentWork     = desc("agent_work_seconds", "How long an agent took for the records that it was given at once.", ofAgent...)

	tableOut       = desc("table_records_out_total", "Records that functions inside a table sent.", "table")
	tableJournaled = desc("table_changelog_records_total", "Records that a table wrote to its changelog.", "table")
	tableEntries   = desc("table_entries", "Entries of a table's shard.", ofShard...)
	tableBytes     = desc("table_bytes", "Bytes of keys and values of a table's shard, as they are encoded.", ofShard...)
	tableProgress  = desc("table_restore_ratio", "How far the restore of a table's shard is; 1 once it is over.", ofShard...)

	globalEntries  = desc("global_table_entries", "Entries of a node's copy of a topic.", "table")
	globalBytes    = desc("global_table_bytes", "Bytes of keys and values of a node's copy of a topic, as they are encoded.", "table")
	globalProgress = desc("global_table_restore_ratio", "How far the first reading of a global table's topic is; 1 once it is over.", "table")
	globalSkipped  = desc("global_table_records_skipped_total", "Records of a global table's topic that did not decode and were passed over.", "table")

	commits       = desc("commits_total", "Transactions, by how they ended.", "verdict")
	commitSeconds = desc("commit_seconds", "How long commits took, however they ended.")
	bundles       = desc("bundles_committed_total", "Bundles of partitions that were committed.")

	partState  = desc("partition_state", "1 for the state in which a partition is.", append(ofPartition, "state")...)
	partLag    = desc("partition_lag_records", "Records that a partition is behind the ends of its sources. Absent while it is not known.", ofPartition...)
	partQueued = desc("partition_queued_records", "Records that were read and not given out.", ofPartition...)
	partEpoch  = desc("partition_epoch_bytes", "Bytes of effects that wait for a commit.", ofPartition...)
	agentLag   = desc("agent_lag_records", "Records that an agent is behind the end of its source. Absent while it is not known.", "agent", "partition")
	mailbox    = desc("mailbox_messages", "Messages that wait for an actor.", "kind", "actor")
)

// Describe sends nothing: which metrics there are depends on what runs.
func (collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), peerTimeout)
	defer cancel()
	x := exposition{to: to}
	to <- prometheus.MustNewConstMetric(buildInfo, prometheus.GaugeValue, 1, c.g.cfg.Version, c.g.cfg.Instance)
	if f, ok := cmem.Read(); ok {
		to <- prometheus.MustNewConstMetric(nativeUsed, prometheus.GaugeValue, float64(f.Used))
		to <- prometheus.MustNewConstMetric(nativeKept, prometheus.GaugeValue, float64(f.Kept))
	}
	if n := cmem.Arenas(); n > 0 {
		to <- prometheus.MustNewConstMetric(nativeArenas, prometheus.GaugeValue, float64(n))
	}
	for _, f := range c.g.clients() {
		client(to, f)
	}
	for _, topology := range c.g.cfg.Topologies {
		n, _ := c.g.node(topology)
		if x.topology = topology; n == nil {
			x.gauge(nodeReady, 0)
			continue
		}
		x.meters(n.Meters())
		x.counter(hooksDropped, n.HooksDropped())
		x.node(n.Inspect(ctx))
		if t, err := n.Tree(); err == nil {
			x.mailboxes(t, "")
		}
	}
}

// Of Kafka's clients, as librdkafka tells them every ten seconds.
var (
	ofClient = []string{"client", "role"}
	ofBroker = []string{"client", "broker"}

	kafkaQueued       = clientDesc("queued_records", "Records that wait for the broker's acknowledgement.", ofClient)
	kafkaQueuedBytes  = clientDesc("queued_bytes", "Bytes that wait for the broker's acknowledgement.", ofClient)
	kafkaFetched      = clientDesc("fetched_records", "Records that were fetched and wait to be polled.", ofClient)
	kafkaFetchedBytes = clientDesc("fetched_bytes", "Bytes that were fetched and wait to be polled.", ofClient)
	kafkaRecordsOut   = clientDesc("records_out_total", "Records that were sent to brokers.", ofClient)
	kafkaRecordsIn    = clientDesc("records_in_total", "Records that came from brokers.", ofClient)
	kafkaBytesOut     = clientDesc("bytes_out_total", "Bytes that were sent to brokers.", ofClient)
	kafkaBytesIn      = clientDesc("bytes_in_total", "Bytes that came from brokers.", ofClient)
	kafkaRequests     = clientDesc("requests_total", "Requests to brokers.", ofClient)
	kafkaUp           = clientDesc("broker_up", "1 if there is a connection to a broker.", ofBroker)
	kafkaConnects     = clientDesc("broker_connects_total", "Connections to a broker that were tried.", ofBroker)
	kafkaDisconnects  = clientDesc("broker_disconnects_total", "Connections to a broker that ended.", ofBroker)
	kafkaErrors       = clientDesc("broker_errors_total", "Errors of sending to or receiving from a broker.", ofBroker)
	kafkaRetries      = clientDesc("broker_retries_total", "Requests to a broker that were tried again.", ofBroker)
	kafkaTimeouts     = clientDesc("broker_timeouts_total", "Requests that a broker did not answer in time.", ofBroker)
	kafkaRTT          = clientDesc("broker_rtt_p99_seconds", "99th percentile of how long a broker took to answer.", ofBroker)
	kafkaThrottle     = clientDesc("broker_throttle_seconds", "How long a broker made the client wait at most.", ofBroker)
)

func clientDesc(name, help string, labels []string) *prometheus.Desc {
	return prometheus.NewDesc("troupe_kafka_"+name, help, labels, nil)
}

// client writes the metrics of one Kafka client.
func client(to chan<- prometheus.Metric, f kafka.ClientFigures) {
	emit := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	count := func(d *prometheus.Desc, v int64) { emit(d, prometheus.CounterValue, float64(v), f.Client, f.Role) }
	gauge := func(d *prometheus.Desc, v int64) { emit(d, prometheus.GaugeValue, float64(v), f.Client, f.Role) }
	gauge(kafkaQueued, f.Queued)
	gauge(kafkaQueuedBytes, f.QueuedBytes)
	gauge(kafkaFetched, f.Fetched)
	gauge(kafkaFetchedBytes, f.FetchedBytes)
	count(kafkaRecordsOut, f.RecordsOut)
	count(kafkaRecordsIn, f.RecordsIn)
	count(kafkaBytesOut, f.BytesOut)
	count(kafkaBytesIn, f.BytesIn)
	count(kafkaRequests, f.Requests)
	for _, b := range f.Brokers {
		up := 0.0
		if b.Up {
			up = 1
		}
		emit(kafkaUp, prometheus.GaugeValue, up, f.Client, b.Name)
		emit(kafkaConnects, prometheus.CounterValue, float64(b.Connects), f.Client, b.Name)
		emit(kafkaDisconnects, prometheus.CounterValue, float64(b.Disconnects), f.Client, b.Name)
		emit(kafkaErrors, prometheus.CounterValue, float64(b.Errors), f.Client, b.Name)
		emit(kafkaRetries, prometheus.CounterValue, float64(b.Retries), f.Client, b.Name)
		emit(kafkaTimeouts, prometheus.CounterValue, float64(b.Late), f.Client, b.Name)
		emit(kafkaRTT, prometheus.GaugeValue, b.RTT99.Seconds(), f.Client, b.Name)
		emit(kafkaThrottle, prometheus.GaugeValue, b.Throttle.Seconds(), f.Client, b.Name)
	}
}

// exposition writes the metrics of one topology.
type exposition struct {
	to       chan<- prometheus.Metric
	topology string
}

func (x exposition) gauge(d *prometheus.Desc, v float64, labels ...string) {
	x.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{x.topology}, labels...)...)
}

func (x exposition) counter(d *prometheus.Desc, v int64, labels ...string) {
	x.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{x.topology}, labels...)...)
}

func (x exposition) histogram(d *prometheus.Desc, h status.Histogram, labels ...string) {
	buckets := make(map[float64]uint64, len(h.Bounds))
	for i, b := range h.Bounds {
		buckets[b] = h.Counts[i]
	}
	x.to <- prometheus.MustNewConstHistogram(d, h.Count, h.Sum, buckets, append([]string{x.topology}, labels...)...)
}

func (x exposition) meters(m status.Meters) {
	for _, a := range m.Agents {
		x.counter(agentIn, a.In, a.Name, a.Role)
		x.counter(agentOut, a.Out, a.Name, a.Role)
		x.counter(agentDropped, a.Dropped, a.Name, a.Role)
		x.counter(agentFailed, a.Failed, a.Name, a.Role)
		x.counter(agentRetried, a.Retried, a.Name, a.Role)
		x.counter(agentSkipped, a.Skipped, a.Name, a.Role)
		x.counter(agentLetters, a.DeadLettered, a.Name, a.Role)
		x.counter(agentRestarts, a.Restarts, a.Name, a.Role)
		x.histogram(agentWork, a.Work, a.Name, a.Role)
	}
	for _, t := range m.Tables {
		x.counter(tableOut, t.Out, t.Name)
		x.counter(tableJournaled, t.Journaled, t.Name)
	}
	x.counter(commits, m.Commits.Committed, "committed")
	x.counter(commits, m.Commits.Aborted, "aborted")
	x.counter(commits, m.Commits.Unknown, "unknown")
	x.counter(commits, m.Commits.Fenced, "fenced")
	x.histogram(commitSeconds, m.Commit)
	x.counter(bundles, m.Bundles)
}

func (x exposition) node(st status.Node) {
	ready := 0.0
	if st.Ready {
		ready = 1
	}
	x.gauge(nodeReady, ready)
	for _, g := range st.Globals {
		x.gauge(globalEntries, float64(g.Entries), g.Table)
		x.gauge(globalBytes, float64(g.Bytes), g.Table)
		x.gauge(globalProgress, g.Progress, g.Table)
		x.counter(globalSkipped, g.Skipped, g.Table)
	}
	for _, p := range st.Partitions {
		number := status.Number(p.Partition)
		x.gauge(partState, 1, p.Stage, number, p.State)
		x.gauge(partQueued, float64(p.Queued), p.Stage, number)
		x.gauge(partEpoch, float64(p.EpochBytes), p.Stage, number)
		if p.Lag >= 0 {
			x.gauge(partLag, float64(p.Lag), p.Stage, number)
		}
		for _, a := range p.Agents {
			if a.Lag >= 0 {
				x.gauge(agentLag, float64(a.Lag), a.Name, number)
			}
		}
		for _, s := range p.Shards {
			x.gauge(tableEntries, float64(s.Entries), s.Table, number)
			x.gauge(tableBytes, float64(s.Bytes), s.Table, number)
			x.gauge(tableProgress, s.Progress, s.Table, number)
		}
	}
}

// mailboxes tells of an actor and of those below it; above names what it is in.
func (x exposition) mailboxes(t status.Tree, above string) {
	name := t.Name
	if above != "" {
		name = above + "/" + name
	}
	if t.Mailbox >= 0 {
		x.gauge(mailbox, float64(t.Mailbox), t.Kind, name)
	}
	if t.Kind == "root" {
		name = ""
	}
	for _, c := range t.Children {
		x.mailboxes(c, name)
	}
}
