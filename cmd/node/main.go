// Command node runs the topologies under examples/, and looks into them. A program of one's own has the same command
// line: its main function is a call of troupe.Main with its topologies.
package main

import (
	"github.com/troupe-stream/troupe"
	"github.com/troupe-stream/troupe/examples/audit"
	"github.com/troupe-stream/troupe/examples/bank"
	"github.com/troupe-stream/troupe/examples/chat"
	"github.com/troupe-stream/troupe/examples/enrich"
	"github.com/troupe-stream/troupe/examples/flaky"
	"github.com/troupe-stream/troupe/examples/fraud"
	"github.com/troupe-stream/troupe/examples/inventory"
	"github.com/troupe-stream/troupe/examples/orders"
	"github.com/troupe-stream/troupe/examples/pageviews"
	"github.com/troupe-stream/troupe/examples/sensor"
	"github.com/troupe-stream/troupe/examples/wordcount"
)

func main() {
	troupe.Main(
		wordcount.Topology(), audit.Topology(), flaky.Topology(), pageviews.Topology(), orders.Topology(), bank.Topology(),
		enrich.Topology(), fraud.Topology(), chat.Topology(), sensor.Topology(), inventory.Topology(),
	)
}
