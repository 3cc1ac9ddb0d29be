package kafka

import "errors"

// ErrDuplicateIdentity says that another live process has this one's instance id, and so its transactional id: both
// would write for the same slots. The process that finds it must stop. Each process needs a data directory of its own,
// or an instance id of its own.
var ErrDuplicateIdentity = errors.New("another process has this one's instance id")

// StartOver is how a user mends what cannot be mended otherwise: by giving up all state of a topology.
func StartOver(topology string) string {
	return "stop all nodes, delete the group (kafka-consumer-groups.sh --delete --group " + topology + ") and the internal topics (kafka-topics.sh --delete --topic '" +
		topology + "-.*'), and empty the nodes' data directories; all tables begin anew"
}
