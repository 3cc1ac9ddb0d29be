package status

// Meters are counts of a node since it started, whichever partitions it has had meanwhile.
type Meters struct {
	Topology string
	Agents   []AgentMeter
	Tables   []TableMeter
	Commits  Commits
	Commit   Histogram // of how long commits took, whatever became of them
	Bundles  int64     // committed
}

// AgentMeter counts what an agent, timer or task has done.
type AgentMeter struct {
	Name, Role string

	In, Out, Dropped, Failed, Retried, Skipped, DeadLettered, Restarts int64

	Work Histogram // of how long it took for runs of records
}

// TableMeter counts what a table has done.
type TableMeter struct {
	Name      string
	Out       int64 // records sent by functions inside it
	Journaled int64 // records for its changelog
}

// Histogram counts observations, in seconds.
type Histogram struct {
	Bounds []float64 // upper, ascending
	Counts []uint64  // of what is at most the bound, not of what is in between
	Count  uint64
	Sum    float64
}
