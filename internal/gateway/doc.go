// Package gateway is a node's HTTP: its health, its state and that of the other nodes of its topologies, metrics, and the few
// things that an operator can do. Client is the other side, for commands and for other nodes.
package gateway
