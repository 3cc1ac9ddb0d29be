//go:build !poison

// Package poison says whether memory for metadata is overwritten with nonsense when nobody needs it any more: with the build tag `poison`,
// which tests are run with. Whoever still looks at it then fails at once, and not some day.
package poison

// On is false in all programs but those tests.
const On = false
