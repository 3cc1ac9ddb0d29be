// Package licenses holds the notices of everything that is linked into a node. It is written by tools/licenses:
//
//	go run ./tools/licenses
package licenses

import _ "embed"

// Text is the notices, module by module, with those of librdkafka and what it bundles.
//
//go:embed THIRD_PARTY.txt
var Text string
