//go:build poison

package confluent

// #cgo CFLAGS: -DTRP_POISON
import "C"
