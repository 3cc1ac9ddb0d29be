package kafka

import "errors"

// ErrDuplicateIdentity says that another live process has this one's instance id, and so its transactional id: both
// would write for the same slots. The process that finds it must stop. Each process needs a data directory of its own,
// or an instance id of its own.
var ErrDuplicateIdentity = errors.New("another process has this one's instance id")
