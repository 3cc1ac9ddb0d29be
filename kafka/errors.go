package kafka

import "errors"

// ErrDuplicateIdentity says that another live process has this one's instance id, and so its transactional id: both
// would write for the same slots. The process that finds it must stop. Each process needs a data directory of its own,
// or an instance id of its own.
var ErrDuplicateIdentity = errors.New("another process has this one's instance id")

// ErrOpenTransaction says that committed offsets cannot be read because a transaction stays open on them: that of a node
// that was killed, until a node starts that takes its slots, or the broker ends it after TransactionTimeout.
var ErrOpenTransaction = errors.New("a transaction stays open on them: of a node that was killed, or hangs; it ends when a node takes its place, or after a minute. One that stays for longer was left open by the brokers themselves: docs/guarantees.md, \"Brokers that die together\", says how to tell and what to do")

// StartOver is how a user mends what cannot be mended otherwise: by giving up all state of a topology.
func StartOver(topology string) string {
	return "stop all nodes and run `node reset --topology " + topology + "`; all tables begin anew"
}

// ErrSentTwice is the cause of an Unknown outcome after a success: a connection was lost in the meantime, so that a request may have been
// sent twice, and the first be carried out later. It is nothing to worry about: Settle finds out.
var ErrSentTwice = errors.New("it may have been sent twice")

// ErrSuperseded says that another process has begun to do the same, and that this one must not go on.
var ErrSuperseded = errors.New("another process has begun to do the same meanwhile, and goes on with it")

// ErrNotHeld says that a slot is not that of a grant any more: given up, or granted to this process as another member.
var ErrNotHeld = errors.New("the slot is not held any more")

// ErrDenied says that the brokers refuse a request because the client has not the right to it, or refuse its login. No record is
// at fault, and waiting does not mend it: the process that finds it stops. The error that it is in names the right, or the user.
var ErrDenied = errors.New("the brokers deny it")
